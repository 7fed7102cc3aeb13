"""The query language: text -> tree -> conditions. docs/query.md is what people read about it."""
