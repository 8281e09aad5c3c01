//! Writes to the registry: transactions to a chain, or signed documents.
