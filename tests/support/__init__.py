"""What the tests share: people, running services, proxies, browsers, issuers."""
