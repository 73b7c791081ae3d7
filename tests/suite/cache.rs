//! N3 and N7: freshness and ordering, cases K1, K5, K6.
