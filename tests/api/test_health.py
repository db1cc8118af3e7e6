from taskapi.settings import VERSION


def test_health_says_that_the_database_answers(client):
    response = client.get("/health")

    assert response.status_code == 200
    assert response.json == {"status": "healthy", "database": "connected", "version": VERSION}


def test_liveness_does_not_ask_the_database(client, monkeypatch):
    def fail(*_args, **_kwargs):
        raise AssertionError("the database was asked")

    monkeypatch.setattr("taskapi.status.health.execute", fail)

    assert client.get("/health/live").json == {"status": "alive"}


def test_the_index_links_to_what_is_there(client):
    links = client.get("/").json["links"]

    assert {"documentation", "openapi", "health"} <= set(links)
    for link in links.values():
        assert client.get(link, buffered=True).status_code in {200, 401, 405}, link
