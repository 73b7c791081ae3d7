//! Every metric family, with closed label sets.
