//! Fixtures and comparison helpers shared by the tests.
