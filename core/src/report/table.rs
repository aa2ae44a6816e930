//! The table of a suite: per poisoned arena, rows are defenses and columns are scores, mean and spread over seeds.
