//! Substitutions, resolved against the whole document (`hocon:resolve/1`).

use super::parser::{Raw, RawNode, RawObject};
use super::value::{Fault, Node, Object, Value};

/// A chain of substitutions longer than this is a cycle.
const MAX_CHAIN: usize = 16;

/// The document with every substitution replaced.
pub fn resolve(root: &RawObject) -> Result<Object, Vec<Fault>> {
    let mut resolver = Resolver { root, faults: Vec::new() };
    let object = resolver.object(root, 0);
    if resolver.faults.is_empty() { Ok(object) } else { Err(resolver.faults) }
}

struct Resolver<'a> {
    root: &'a RawObject,
    faults: Vec<Fault>,
}

impl Resolver<'_> {
    fn object(&mut self, object: &RawObject, chain: usize) -> Object {
        let fields = object
            .fields
            .iter()
            .filter_map(|(name, node)| Some((name.clone(), self.node(node, chain)?)))
            .collect();
        Object { at: object.at.clone(), fields }
    }

    /// The resolved node; `None` if it is to be left out.
    fn node(&mut self, node: &RawNode, chain: usize) -> Option<Node> {
        let value = match &node.value {
            Raw::Plain(value) => value.clone(),
            Raw::Array(items) => {
                Value::Array(items.iter().filter_map(|item| self.node(item, chain)).collect())
            }
            Raw::Object(object) => Value::Object(self.object(object, chain)),
            Raw::Substitution { path, optional } => {
                if chain >= MAX_CHAIN {
                    self.faults.push(Fault::new(&node.at, format!("${{{path}}} leads back to itself")));
                    return None;
                }
                let Some(found) = lookup(self.root, path) else {
                    if !optional {
                        let what = format!("${{{path}}} is set nowhere");
                        self.faults.push(Fault::new(&node.at, what));
                    }
                    return None;
                };
                self.node(found, chain.saturating_add(1))?.value
            }
        };
        Some(Node { at: node.at.clone(), value })
    }
}

fn lookup<'a>(root: &'a RawObject, path: &str) -> Option<&'a RawNode> {
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(parents, last)| (Some(parents), last));
    let mut object = root;
    for part in parents.into_iter().flat_map(|parents| parents.split('.')) {
        let (_, node) = object.fields.iter().find(|(name, _)| name == part)?;
        let Raw::Object(inner) = &node.value else { return None };
        object = inner;
    }
    object.fields.iter().find(|(name, _)| name == last).map(|(_, node)| node)
}
