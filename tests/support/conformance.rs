//! The cases that every backend must pass, generic over the backend trait.
