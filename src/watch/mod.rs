//! What the API server shows, as a stream.
