//! Which texts are asked most often.

use std::cmp::Reverse;
use std::collections::HashSet;

use super::{Namespace, Node, Shareable, Tree};

/// How much of what is asked most often is wanted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Requests that must have begun so.
    pub(crate) uses: u32,
    /// Blocks of all texts together, at most.
    pub(crate) blocks: usize,
    /// Texts, at most.
    pub(crate) texts: usize,
}

impl<B: Shareable> Tree<B> {
    /// Counts a request that begins with these tokens, for each whole block of it that is there.
    pub(crate) fn count(&mut self, namespace: Namespace, tokens: &[u32]) {
        let mut level = self.roots.get(&namespace);
        let mut path = Vec::new();
        for chunk in tokens.chunks_exact(self.positions) {
            let Some(id) = level.and_then(|level| level.get(chunk)) else { break };
            path.push(*id);
            level = self.nodes.get(id).map(|node| &node.children);
        }
        for id in path {
            if let Some(node) = self.nodes.get_mut(&id) {
                node.uses = node.uses.saturating_add(1);
            }
        }
    }

    /// The texts that most requests began with, in whole blocks, those asked most often first.
    pub(crate) fn popular(
        &self,
        of: impl Fn(Namespace) -> bool,
        bounds: Bounds,
    ) -> Vec<(Namespace, Vec<u32>)> {
        let is_asked = |node: &Node<B>| node.uses >= bounds.uses && of(node.namespace);
        let asked = self.nodes.iter().filter(|(_, node)| is_asked(node));
        let mut blocks: Vec<(Reverse<u32>, usize, u64)> =
            asked.map(|(id, node)| (Reverse(node.uses), self.path(*id).len(), *id)).collect();
        // What lies above a block was asked for at least as often, so it stands before it, and a text never lacks its middle.
        blocks.sort_unstable();
        blocks.truncate(bounds.blocks);
        let chosen: HashSet<u64> = blocks.iter().map(|(_, _, id)| *id).collect();
        let is_end = |id: &u64| {
            let node = self.nodes.get(id);
            node.is_some_and(|node| !node.children.values().any(|below| chosen.contains(below)))
        };
        let ends = blocks.iter().map(|(_, _, id)| *id).filter(is_end).take(bounds.texts);
        ends.filter_map(|id| {
            let nodes = self.path(id);
            let namespace = nodes.first()?.namespace;
            let tokens = nodes.iter().rev().flat_map(|node| &*node.tokens).copied();
            Some((namespace, tokens.collect()))
        })
        .collect()
    }

    /// A node and those above it, upwards.
    fn path(&self, id: u64) -> Vec<&Node<B>> {
        let node = self.nodes.get(&id);
        let above = |node: &&Node<B>| node.parent.and_then(|id| self.nodes.get(&id));
        std::iter::successors(node, above).collect()
    }
}
