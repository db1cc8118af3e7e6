#!/bin/sh
# Runs once, when the postgres container makes its data: the service gets a role that owns its
# database and nothing else. The superuser keeps no password, so that nobody is it by network.
set -eu
psql --set ON_ERROR_STOP=1 --set password="$POSTGRES_PASSWORD" --username postgres --dbname postgres <<'SQL'
CREATE ROLE taskapi LOGIN PASSWORD :'password';
CREATE ROLE taskapi_user NOLOGIN NOBYPASSRLS;
GRANT taskapi_user TO taskapi;
CREATE DATABASE taskapi OWNER taskapi TEMPLATE template0 ENCODING 'UTF8';
ALTER ROLE postgres PASSWORD NULL;
SQL
