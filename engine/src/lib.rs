//! Requests in, tokens out: queue, batch, slots, swap.
