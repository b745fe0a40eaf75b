-- Empty on purpose: the extension vecdb, which this one requires, owns the type
-- vector and everything else. This name lets clients that send
-- CREATE EXTENSION IF NOT EXISTS vector find it where vecdb is in the database.
-- The version is that of the pgvector whose SQL surface vecdb follows.
\echo Use "CREATE EXTENSION vector" to load this file. \quit
