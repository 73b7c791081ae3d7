//! A scriptable backend for the cache and the API: latency, faults, gates, and a log of its calls.
