"""Accounts: who somebody is, and the sessions in which they have said so."""
