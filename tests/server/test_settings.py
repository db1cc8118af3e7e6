"""What the operator may choose, and how a wrong choice is answered."""

import os
import stat

import pytest

from taskapi.settings import Settings, SettingsError
from tests.support.service import ROOT

SECRET = "s" * 32
EXTERNAL = {
    "AUTH_MODE": "external",
    "EXTERNAL_JWKS_URL": "https://auth.example.com/jwks",
    "EXTERNAL_JWT_ISSUER": "https://auth.example.com",
    "EXTERNAL_JWT_AUDIENCE": "https://auth.example.com",
}
URL = "postgresql://user:password@localhost:5432/tasks"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Read the settings from these variables and nothing else."""
    for name in [*os.environ]:
        if name.isupper() and not name.startswith(("PYTEST", "COV", "PATH", "HOME")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("EMBEDDED_POSTGRES_DIR", str(tmp_path / "postgres"))

    def read(**variables):
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings.from_environment(str(tmp_path / ".env"))

    return read


def test_nothing_needs_to_be_set_for_a_trial(read, tmp_path):
    settings = read()

    assert (settings.host, settings.port) == ("127.0.0.1", 8000)
    assert settings.embedded_postgres_dir == tmp_path / "postgres"
    assert settings.database_url.startswith("postgresql+psycopg2://")
    assert settings.web_concurrency >= 2
    assert "http://localhost:5173" in settings.cors_origins


def test_the_key_of_a_trial_is_made_once_and_readable_by_its_owner_alone(read, tmp_path):
    first, second = read(), read()

    assert first.jwt_secret_keys == second.jwt_secret_keys
    assert len(first.jwt_secret_keys[0]) >= 32
    [path] = tmp_path.glob("*jwt-secret-key")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_may_hold_the_settings_and_the_environment_wins(read, tmp_path):
    (tmp_path / ".env").write_text("PORT=9001\nTHREADS=3\n")

    settings = read(PORT="9002")

    assert (settings.port, settings.threads) == (9002, 3)


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("https://App.Example.COM", "https://app.example.com"),
        ("HTTPS://app.example.com", "https://app.example.com"),
        ("https://app.example.com:443", "https://app.example.com"),
        ("http://app.example.com:80", "http://app.example.com"),
        ("http://app.example.com:443", "http://app.example.com:443"),
        ("https://app.example.com/", "https://app.example.com"),
        ("https://münchen.example", "https://xn--mnchen-3ya.example"),
        ("https://straße.example", "https://xn--strae-oqa.example"),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("tauri://localhost", "tauri://localhost"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(read, written, sent):
    assert read(CORS_ORIGINS=written).cors_origins == (sent,)


def test_white_space_around_the_parts_of_a_list_does_not_count(read):
    settings = read(
        JWT_SECRET_KEY=f" {SECRET} , {SECRET.upper()} ",
        CORS_ORIGINS="https://a.example , https://b.example",
    )

    assert settings.jwt_secret_keys == (SECRET, SECRET.upper())
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_an_empty_list_of_origins_allows_none(read):
    assert read(CORS_ORIGINS="").cors_origins == ()


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2"])
def test_the_usual_spellings_of_a_database_url_are_understood(read, scheme):
    url = URL.replace("postgresql", scheme, 1)

    settings = read(DATABASE_URL=url, JWT_SECRET_KEY=SECRET)

    assert settings.database_url == "postgresql+psycopg2://user:password@localhost:5432/tasks"
    assert settings.embedded_postgres_dir is None


@pytest.mark.parametrize(
    ("variables", "name", "advice"),
    [
        ({"PORT": "http"}, "PORT", "integer"),
        ({"PORT": "70000"}, "PORT", "65535"),
        ({"HOST": "not a host"}, "HOST", "127.0.0.1"),
        ({"THREADS": "0"}, "THREADS", "1"),
        ({"WEB_CONCURRENCY": "many"}, "WEB_CONCURRENCY", "integer"),
        (
            {"DATABASE_URL": "mysql://u:secret-word@h/d", "JWT_SECRET_KEY": SECRET},
            "DATABASE_URL",
            "postgresql://",
        ),
        (
            {"DATABASE_URL": f"{URL}?colour=red", "JWT_SECRET_KEY": SECRET},
            "DATABASE_URL",
            "an option, number 1,",
        ),
        ({"DATABASE_URL": "tasks", "JWT_SECRET_KEY": SECRET}, "DATABASE_URL", "postgresql://"),
        ({"DATABASE_URL": URL}, "JWT_SECRET_KEY", "required"),
        ({"JWT_SECRET_KEY": "secret-word"}, "JWT_SECRET_KEY", "32 bytes"),
        ({"CORS_ORIGINS": "*"}, "CORS_ORIGINS", "https://app.example.com"),
        ({"CORS_ORIGINS": "https://a.example/path"}, "CORS_ORIGINS", "without a path"),
        ({"CORS_ORIGINS": "https://[a"}, "CORS_ORIGINS", "origin"),
        ({"CORS_ORIGINS": "https://*.example.com"}, "CORS_ORIGINS", "never *"),
        ({"CORS_ORIGINS": "https://ada@app.example.com"}, "CORS_ORIGINS", "password"),
        ({"CORS_ORIGINS": "https://a.example?b"}, "CORS_ORIGINS", "origin"),
        ({"CORS_ORIGINS": "null"}, "CORS_ORIGINS", "origin"),
        ({"CORS_ORIGINS": "ftp://a.example"}, "CORS_ORIGINS", "origin"),
        ({"CORS_ORIGINS": "https://a.example,"}, "CORS_ORIGINS", "nothing in place 2 of 2"),
        ({"CORS_ORIGINS": "https://a.example,,https://b.example"}, "CORS_ORIGINS", "2 of 3"),
        ({"JWT_SECRET_KEY": f"{SECRET},"}, "JWT_SECRET_KEY", "nothing in place 2 of 2"),
        ({"JWT_SECRET_KEY": f",{SECRET}"}, "JWT_SECRET_KEY", "nothing in place 1 of 2"),
        ({"JWT_SECRET_KEY": f"{SECRET},short"}, "JWT_SECRET_KEY", "32 bytes"),
        ({"LOG_FORMAT": "xml"}, "LOG_FORMAT", "json"),
        ({"LOGIN_FAILURES_PER_ADDRESS": "often"}, "LOGIN_FAILURES_PER_ADDRESS", "600/minute"),
        ({"STATEMENT_TIMEOUT": "-1"}, "STATEMENT_TIMEOUT", "0.1"),
        ({"AUTH_MODE": "none"}, "AUTH_MODE", "local, external, path"),
        ({"AUTH_MODE": "path", "HOST": "0.0.0.0"}, "TRUST_PATH_USER_ID", "gateway"),
        ({"AUTH_MODE": "path", "TRUSTED_PROXIES": "1"}, "TRUST_PATH_USER_ID", "gateway"),
        ({"AUTH_MODE": "external"}, "EXTERNAL_JWKS_URL", "EXTERNAL_JWT_SECRET"),
        ({"AUTH_MODE": "external", "EXTERNAL_JWT_SECRET": "short"}, "EXTERNAL_JWT_SECRET", "32"),
        ({"EXTERNAL_JWT_SECRET": SECRET}, "AUTH_MODE", "external"),
        ({**EXTERNAL, "EXTERNAL_JWT_ISSUER": ""}, "EXTERNAL_JWT_ISSUER", "iss"),
        ({**EXTERNAL, "EXTERNAL_JWT_AUDIENCE": ""}, "EXTERNAL_JWT_AUDIENCE", "aud"),
        ({**EXTERNAL, "EXTERNAL_JWT_SECRET": SECRET}, "EXTERNAL_JWT_SECRET", "exclude"),
        ({**EXTERNAL, "EXTERNAL_JWKS_URL": "auth.example.com"}, "EXTERNAL_JWKS_URL", "https://"),
        (
            {**EXTERNAL, "EXTERNAL_JWKS_URL": "https://svc:secret-word@auth.example.com/"},
            "EXTERNAL_JWKS_URL",
            "without a password",
        ),
        ({"COOKIE_SECURE": "no", "HOST": "0.0.0.0"}, "COOKIE_SECURE", "loopback"),
        ({"COOKIE_SECURE": "no", "COOKIE_SAMESITE": "none"}, "COOKIE_SAMESITE", "COOKIE_SECURE"),
        ({"COOKIE_SAMESITE": "sometimes"}, "COOKIE_SAMESITE", "strict"),
        ({"REFRESH_TOKEN_LIFETIME": "2"}, "ACCESS_TOKEN_LIFETIME", "REFRESH_TOKEN_LIFETIME"),
        ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES", "0"),
        ({"MIGRATE_ON_START": "perhaps"}, "MIGRATE_ON_START", "boolean"),
    ],
)
def test_a_wrong_value_is_named_with_its_mend(read, variables, name, advice):
    with pytest.raises(SettingsError) as refusal:
        read(**variables)

    [line] = str(refusal.value).splitlines()
    assert line.startswith(f"{name}: ")
    assert advice in line
    assert "secret-word" not in line


def test_all_wrong_values_are_named_at_once(read):
    with pytest.raises(SettingsError) as refusal:
        read(PORT="x", THREADS="y", DATABASE_URL=URL)

    lines = str(refusal.value).splitlines()
    assert [line.partition(":")[0] for line in lines] == ["JWT_SECRET_KEY", "PORT", "THREADS"]


def test_every_setting_is_explained_in_the_example():
    import re

    read = set(
        re.findall(r'env\.\w+\(\s*"([A-Z_]+)"', (ROOT / "taskapi/settings/__init__.py").read_text())
    )
    explained = set(re.findall(r"^#?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    assert read == explained
    readme = (ROOT / "README.md").read_text()
    assert {name for name in read if f"`{name}`" not in readme} == set()


@pytest.mark.parametrize("variables", [{}, {"CONTRACT": "b"}])
def test_the_example_as_it_stands_gives_the_defaults(read, tmp_path, variables):
    from dataclasses import asdict

    defaults = asdict(read(**variables))
    example = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(example)

    assert asdict(read()) == defaults
