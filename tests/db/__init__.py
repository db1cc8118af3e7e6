"""How the service uses PostgreSQL: connections, statements, migrations, readiness, pools."""
