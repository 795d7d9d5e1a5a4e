//! `/v1/models`: the entries of the model list.
