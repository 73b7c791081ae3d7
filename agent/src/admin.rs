//! The admin listener: liveness, readiness and metrics, apart from the API.
