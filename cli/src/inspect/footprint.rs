//! Estimates what an engine allocates for a module or component before its first instruction.
//!
//! The estimate reads the sections without validating them. A component can instantiate a module or
//! another component many times, and the numbers multiply at each level of nesting: a few hundred
//! bytes can describe millions of instances. The estimate is an upper bound: an instance of a
//! module counts as an instance of the largest module before it, and an instance of a component as
//! one of the largest component before it.

use wasmparser::{
    ComponentInstance, ConstExpr, DataKind, ElementItems, ElementKind, Encoding, Instance, Parser,
    Payload, TableInit,
};

/// Bytes of an empty instance.
const INSTANCE_BYTES: u64 = 1024;
/// Bytes of an imported or defined function.
const FUNCTION_BYTES: u64 = 32;
/// Bytes of a global, a memory, a table or a tag.
const ITEM_BYTES: u64 = 64;
/// Bytes of an element of a segment, which is at least one byte in the module.
const ELEMENT_BYTES: u64 = 16;

/// The estimated allocations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// The number of core instances.
    pub(crate) instances: u64,
    /// The bytes of the instances, without memories and tables.
    pub(crate) instance_bytes: u64,
    /// The size of the longest constant expression. Its operators nest, and an engine may recurse.
    pub(crate) expression_bytes: u64,
    /// The initial size of all memories; each module counts once.
    pub(crate) memory_bytes: u64,
}

/// An open module or component during the parse.
struct Frame {
    encoding: Encoding,
    /// For a module: one instance. For a component: all its instances.
    total: Footprint,
}

impl Footprint {
    /// Estimates the allocations. Stops at the first malformed section, which engines reject.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut frames: Vec<Frame> = Vec::new();
        let (mut module, mut component) = (Footprint::default(), Footprint::default());
        let (mut memory_bytes, mut expression_bytes) = (0_u64, 0_u64);
        for payload in Parser::new(0).parse_all(bytes) {
            let Ok(payload) = payload else { break };
            if let Payload::Version { encoding, .. } = payload {
                let total = match encoding {
                    Encoding::Module => Footprint {
                        instances: 1,
                        instance_bytes: INSTANCE_BYTES,
                        ..Footprint::default()
                    },
                    Encoding::Component => Footprint::default(),
                };
                frames.push(Frame { encoding, total });
                continue;
            }
            if let Payload::End(_) = payload {
                let Some(frame) = frames.pop() else { break };
                let largest = match frame.encoding {
                    Encoding::Module => &mut module,
                    Encoding::Component => &mut component,
                };
                *largest = largest.max(frame.total);
                continue;
            }
            let Some(frame) = frames.last_mut() else { break };
            frame.total.add(1, section(&payload, module, component));
            memory_bytes = memory_bytes.saturating_add(initial_bytes(&payload));
            expression_bytes = expression_bytes.max(longest_expression(&payload));
        }
        // An unfinished frame belongs to a truncated module, which engines reject.
        let total = if Parser::is_component(bytes) { component } else { module };
        Footprint { memory_bytes, expression_bytes, ..total }
    }

    fn add(&mut self, count: u64, each: Footprint) {
        let times = |of: u64| count.saturating_mul(of);
        self.instances = self.instances.saturating_add(times(each.instances));
        self.instance_bytes = self.instance_bytes.saturating_add(times(each.instance_bytes));
    }

    fn max(self, other: Self) -> Self {
        Footprint {
            instances: self.instances.max(other.instances),
            instance_bytes: self.instance_bytes.max(other.instance_bytes),
            ..Footprint::default()
        }
    }
}

/// Returns the size of the longest constant expression of a section.
fn longest_expression(payload: &Payload<'_>) -> u64 {
    let len = |expression: &ConstExpr<'_>| expression.get_binary_reader().bytes_remaining() as u64;
    let mut longest = 0;
    match payload {
        Payload::GlobalSection(globals) => {
            for global in globals.clone().into_iter().flatten() {
                longest = longest.max(len(&global.init_expr));
            }
        }
        Payload::TableSection(tables) => {
            for table in tables.clone().into_iter().flatten() {
                if let TableInit::Expr(expression) = table.init {
                    longest = longest.max(len(&expression));
                }
            }
        }
        Payload::DataSection(segments) => {
            for segment in segments.clone().into_iter().flatten() {
                if let DataKind::Active { offset_expr, .. } = segment.kind {
                    longest = longest.max(len(&offset_expr));
                }
            }
        }
        Payload::ElementSection(segments) => {
            for segment in segments.clone().into_iter().flatten() {
                if let ElementKind::Active { offset_expr, .. } = segment.kind {
                    longest = longest.max(len(&offset_expr));
                }
                if let ElementItems::Expressions(_, items) = segment.items {
                    let lens = items.into_iter().flatten().map(|expression| len(&expression));
                    longest = lens.fold(longest, u64::max);
                }
            }
        }
        _ => {}
    }
    longest
}

/// Returns what a section adds to an instance of its module, or to its component.
fn section(payload: &Payload<'_>, module: Footprint, component: Footprint) -> Footprint {
    let mut added = Footprint::default();
    let of_items = |count: u32, bytes: u64| u64::from(count).saturating_mul(bytes);
    added.instance_bytes = match payload {
        Payload::ImportSection(items) => of_items(items.count(), FUNCTION_BYTES + ITEM_BYTES),
        Payload::FunctionSection(items) => of_items(items.count(), FUNCTION_BYTES),
        Payload::TableSection(items) => of_items(items.count(), ITEM_BYTES),
        Payload::MemorySection(items) => of_items(items.count(), ITEM_BYTES),
        Payload::TagSection(items) => of_items(items.count(), ITEM_BYTES),
        Payload::GlobalSection(items) => of_items(items.count(), ITEM_BYTES),
        Payload::ElementSection(items) => {
            let range = items.range();
            range.end.saturating_sub(range.start).saturating_mul(ELEMENT_BYTES)
        }
        _ => 0,
    };
    match payload {
        Payload::InstanceSection(items) => {
            let is_instantiation = |it: &Instance<'_>| matches!(it, Instance::Instantiate { .. });
            let count = items.clone().into_iter().flatten().filter(is_instantiation).count();
            added.add(count as u64, module);
        }
        Payload::ComponentInstanceSection(items) => {
            let is_instantiation =
                |it: &ComponentInstance<'_>| matches!(it, ComponentInstance::Instantiate { .. });
            let count = items.clone().into_iter().flatten().filter(is_instantiation).count();
            added.add(count as u64, component);
        }
        _ => {}
    }
    added
}

/// Returns the initial size of the memories of a section.
fn initial_bytes(payload: &Payload<'_>) -> u64 {
    let Payload::MemorySection(memories) = payload else { return 0 };
    let bytes = memories.clone().into_iter().flatten().map(|memory| {
        let page = 1_u64.checked_shl(memory.page_size_log2.unwrap_or(16)).unwrap_or(1);
        memory.initial.saturating_mul(page)
    });
    bytes.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Footprint {
        Footprint::read(&wat::parse_str(text).unwrap())
    }

    #[test]
    fn footprint_of_a_module_is_one_instance_and_all_memories() {
        let footprint = read("(module (memory 2) (memory 3) (global i32 (i32.const 1)))");
        assert_eq!((footprint.instances, footprint.memory_bytes), (1, 5 * 65536));
        let larger = read("(module (func) (func) (func) (table 1 funcref))");
        assert!(larger.instance_bytes > read("(module)").instance_bytes);
    }

    #[test]
    fn instances_multiply_at_each_level_of_nesting() {
        let mut text = "(core module $m) (core instance (instantiate $m))".to_owned();
        for level in 0..4 {
            text = format!(
                "(component $c{level} {text})
                (instance (instantiate $c{level})) (instance (instantiate $c{level}))
                (instance (instantiate $c{level}))"
            );
        }
        let footprint = read(&format!("(component {text})"));
        assert_eq!(footprint.instances, 81);
        assert!(footprint.instance_bytes >= 81 * INSTANCE_BYTES);
    }

    #[test]
    fn truncated_modules_and_text_do_not_panic() {
        let module = wat::parse_str("(module (memory 1))").unwrap();
        for len in 0..module.len() {
            Footprint::read(&module[..len]);
        }
        assert_eq!(Footprint::read(b"text").instances, 0);
    }
}
