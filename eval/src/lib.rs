//! Champion against candidate on held-out data: scores, intervals, verdict.
