//! Blocks by the tokens that led to them.
//!
//! For each namespace a tree, as in SGLang's RadixAttention (Zheng and others, *Efficiently Programming Large Language Models
//! using SGLang*, 2023), in steps of a block as in vLLM. A node is one block of keys and values and the token ids of its
//! positions; what lies above it are the tokens before them. Token ids are compared themselves and never by a hash of
//! them, so a hit has computed exactly these tokens. Only the last block of a text is shorter than a block, and has
//! nothing below it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;

use super::namespace::Namespace;

mod popular;

pub(crate) use popular::Bounds;

/// What a tree needs to know of the blocks it holds. A clone is a reference.
pub(crate) trait Shareable: Clone {
    /// Memory of the block.
    fn bytes(&self) -> usize;
    /// Whether somebody else holds it as well, so that its memory would not be free without the tree.
    fn is_shared(&self) -> bool;
}

/// Token ids of a block's positions.
type Tokens = Box<[u32]>;
/// Nodes by their tokens. The order makes the neighbours of a text those that begin as it does.
type Children = BTreeMap<Tokens, u64>;

#[derive(Debug)]
struct Node<B> {
    namespace: Namespace,
    /// `None` at the beginning of a text.
    parent: Option<u64>,
    tokens: Tokens,
    block: B,
    children: Children,
    /// By the tree's clock.
    used: u64,
    /// Requests that began with all tokens up to its end.
    uses: u32,
}

/// All trees. The leaf that was not used for longest leaves first.
#[derive(Debug)]
pub(crate) struct Tree<B> {
    /// Positions of a block.
    positions: usize,
    nodes: HashMap<u64, Node<B>>,
    roots: HashMap<Namespace, Children>,
    /// Nodes without children, by when they were used.
    leaves: BTreeSet<(u64, u64)>,
    next_id: u64,
    clock: u64,
    bytes: usize,
}

impl<B: Shareable> Tree<B> {
    /// An empty one, for blocks of so many positions.
    pub(crate) fn new(positions: usize) -> Self {
        Self {
            positions,
            nodes: HashMap::new(),
            roots: HashMap::new(),
            leaves: BTreeSet::new(),
            next_id: 0,
            clock: 0,
            bytes: 0,
        }
    }

    /// Memory of all blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory of one block; 0 while there is none.
    pub(crate) fn block_bytes(&self) -> usize {
        self.nodes.values().next().map_or(0, |node| node.block.bytes())
    }

    /// Namespaces that have something.
    pub(crate) fn namespaces(&self) -> usize {
        self.roots.len()
    }

    /// Whether a namespace has something.
    pub(crate) fn has(&self, namespace: Namespace) -> bool {
        self.roots.contains_key(&namespace)
    }

    /// Memory of the blocks that nobody else holds.
    pub(crate) fn own_bytes(&self) -> usize {
        let own = self.nodes.values().filter(|node| !node.block.is_shared());
        own.map(|node| node.block.bytes()).sum()
    }

    /// The blocks of the longest beginning of `tokens` that is there, and how many positions of each belong to it: all,
    /// but of the last one perhaps fewer.
    pub(crate) fn find(&mut self, namespace: Namespace, tokens: &[u32]) -> Vec<(B, usize)> {
        self.clock += 1;
        let (mut found, mut path, mut rest) = (Vec::new(), Vec::new(), tokens);
        let mut children = self.roots.get(&namespace);
        while let Some(level) = children {
            let chunk = &rest[..rest.len().min(self.positions)];
            let Some((id, common)) = longest(level, chunk) else { break };
            let Some(node) = self.nodes.get(&id) else { break };
            found.push((node.block.clone(), common));
            path.push(id);
            rest = &rest[common..];
            children = (common == self.positions).then_some(&node.children);
        }
        path.into_iter().for_each(|id| self.touch(id));
        found
    }

    /// Keeps the blocks of a text; `block` has the one of each index. What is there already stays as it is.
    pub(crate) fn insert(
        &mut self,
        namespace: Namespace,
        tokens: &[u32],
        block: impl Fn(usize) -> Option<B>,
    ) {
        self.clock += 1;
        let mut parent = None;
        for (index, chunk) in tokens.chunks(self.positions).enumerate() {
            let level = match parent {
                None => self.roots.get(&namespace),
                Some(id) => self.nodes.get(&id).map(|node| &node.children),
            };
            let there = level.and_then(|level| longest(level, chunk));
            let id = match there {
                // It is there, or is the beginning of one that is.
                Some((id, common)) if common == chunk.len() => {
                    self.touch(id);
                    id
                }
                _ => {
                    let shorter = there.map(|(id, _)| id).filter(|id| {
                        self.nodes.get(id).is_some_and(|node| chunk.starts_with(&node.tokens))
                    });
                    if let Some(shorter) = shorter {
                        self.remove(shorter);
                    }
                    let Some(block) = block(index) else { return };
                    self.add(namespace, parent, chunk, block)
                }
            };
            parent = Some(id);
        }
    }

    /// Lets the leaf go that was not used for longest, of those that `may` leave. Returns its memory.
    pub(crate) fn evict(&mut self, may: impl Fn(&B) -> bool) -> Option<usize> {
        let of = |id: &u64| self.nodes.get(id).filter(|node| may(&node.block));
        let (id, bytes) =
            self.leaves.iter().find_map(|(_, id)| Some((*id, of(id)?.block.bytes())))?;
        self.remove(id);
        Some(bytes)
    }

    /// Lets whole namespaces go.
    pub(crate) fn retain(&mut self, keep: impl Fn(Namespace) -> bool) {
        let gone = |node: &Node<B>| !keep(node.namespace);
        let ids: Vec<u64> =
            self.nodes.iter().filter(|(_, node)| gone(node)).map(|(id, _)| *id).collect();
        for id in ids {
            if let Some(node) = self.nodes.remove(&id) {
                self.leaves.remove(&(node.used, id));
                self.bytes -= node.block.bytes();
            }
        }
        self.roots.retain(|namespace, _| keep(*namespace));
    }

    fn add(&mut self, namespace: Namespace, parent: Option<u64>, chunk: &[u32], block: B) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.bytes += block.bytes();
        let node = Node {
            namespace,
            parent,
            tokens: chunk.into(),
            block,
            children: Children::new(),
            used: self.clock,
            uses: 0,
        };
        self.nodes.insert(id, node);
        self.leaves.insert((self.clock, id));
        match parent.and_then(|parent| Some((parent, self.nodes.get_mut(&parent)?))) {
            Some((parent, above)) => {
                self.leaves.remove(&(above.used, parent));
                above.children.insert(chunk.into(), id);
            }
            None => {
                self.roots.entry(namespace).or_default().insert(chunk.into(), id);
            }
        }
        id
    }

    /// Takes a leaf out.
    fn remove(&mut self, id: u64) {
        let Some(node) = self.nodes.remove(&id) else { return };
        self.leaves.remove(&(node.used, id));
        self.bytes -= node.block.bytes();
        match node.parent {
            Some(parent) => {
                if let Some(above) = self.nodes.get_mut(&parent) {
                    above.children.remove(&node.tokens);
                    if above.children.is_empty() {
                        self.leaves.insert((above.used, parent));
                    }
                }
            }
            None => {
                if let Some(root) = self.roots.get_mut(&node.namespace) {
                    root.remove(&node.tokens);
                    if root.is_empty() {
                        self.roots.remove(&node.namespace);
                    }
                }
            }
        }
    }

    fn touch(&mut self, id: u64) {
        if let Some(node) = self.nodes.get_mut(&id) {
            if self.leaves.remove(&(node.used, id)) {
                self.leaves.insert((self.clock, id));
            }
            node.used = self.clock;
        }
    }
}

/// The node that begins with most of `chunk`, and how many tokens that is; `None` if none begins with its first one.
/// In the order of texts it is the one before or the one after.
fn longest(level: &Children, chunk: &[u32]) -> Option<(u64, usize)> {
    let before = level.range::<[u32], _>((Bound::Unbounded, Bound::Included(chunk))).next_back();
    let after = level.range::<[u32], _>((Bound::Excluded(chunk), Bound::Unbounded)).next();
    let common = |(tokens, id): (&Tokens, &u64)| {
        let pairs = tokens.iter().zip(chunk);
        (*id, pairs.take_while(|(a, b)| a == b).count())
    };
    let all = [before, after].into_iter().flatten().map(common);
    all.filter(|(_, common)| *common > 0).max_by_key(|(_, common)| *common)
}

#[cfg(test)]
impl<B: Shareable> Tree<B> {
    /// Checks what must hold after every step.
    pub(crate) fn check(&self) {
        let bytes: usize = self.nodes.values().map(|node| node.block.bytes()).sum();
        assert_eq!(bytes, self.bytes);
        let leaves: BTreeSet<(u64, u64)> = self
            .nodes
            .iter()
            .filter(|(_, node)| node.children.is_empty())
            .map(|(id, node)| (node.used, *id))
            .collect();
        assert_eq!(leaves, self.leaves);
        let levels = self.nodes.values().map(|node| &node.children).chain(self.roots.values());
        let mut reached = 0;
        for level in levels {
            reached += level.len();
            let texts: Vec<&Tokens> = level.keys().collect();
            for (a, b) in texts.iter().zip(&texts[1.min(texts.len())..]) {
                assert!(!b.starts_with(a), "one text is held twice");
            }
        }
        assert_eq!(reached, self.nodes.len());
        for node in self.nodes.values() {
            let whole = node.tokens.len() == self.positions;
            assert!(whole || node.children.is_empty(), "something follows a part of a block");
            if let Some(above) = node.parent.and_then(|id| self.nodes.get(&id)) {
                assert!(above.used >= node.used, "what lies above leaves later");
                assert!(above.uses >= node.uses, "what lies above was asked for as well");
                assert_eq!(above.namespace, node.namespace);
            }
        }
    }
}
