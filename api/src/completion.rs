//! `/v1/completions`: the legacy endpoint, with token ids as prompt, echo and log-probabilities.
