"""Clients of the service: the JavaScript client, the web page, browsers, the contracts' clients."""
