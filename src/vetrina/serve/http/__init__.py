"""HTTP server: parsing, connections, admission and client addresses."""
