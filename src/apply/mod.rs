//! The only writer to the API server.
