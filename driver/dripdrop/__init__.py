"""Messaging sequences that live in Postgres."""
