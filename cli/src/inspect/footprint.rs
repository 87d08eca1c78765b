//! What a module or a component makes an engine allocate before its first instruction, estimated
//! from its sections without validating it.
//!
//! A component can instantiate a module, or another component, as often as it says so, and that
//! multiplies at each level of nesting: a few hundred bytes describe millions of instances. The
//! estimate never falls below what an engine allocates: an instance of a module counts as one of
//! the largest module before it, and one of a component as one of the largest component before it.

use wasmparser::{
    ComponentInstance, ConstExpr, DataKind, ElementItems, ElementKind, Encoding, Instance, Parser,
    Payload, TableInit,
};

/// Bytes that an engine keeps for an instance, whatever is in it.
const INSTANCE_BYTES: u64 = 1024;
/// Bytes for a function that is imported or defined.
const FUNCTION_BYTES: u64 = 32;
/// Bytes for a global, a memory, a table or a tag.
const ITEM_BYTES: u64 = 64;
/// Bytes for an element of a segment, which takes at least one byte of the module.
const ELEMENT_BYTES: u64 = 16;

/// What is allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Core instances.
    pub(crate) instances: u64,
    /// Bytes of these, without memories and tables.
    pub(crate) instance_bytes: u64,
    /// Bytes of the longest constant expression. Its operators nest, and an engine may recurse.
    pub(crate) expression_bytes: u64,
    /// Bytes that the memories of each module start with, each module counted once.
    pub(crate) memory_bytes: u64,
}

/// A module or a component that is being read.
struct Frame {
    encoding: Encoding,
    /// Of a module: of one instance. Of a component: of all its instances.
    total: Footprint,
}

impl Footprint {
    /// Reads as far as the bytes can be read; an engine refuses the rest.
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
        // What ended too early is refused, and was not instantiated.
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

/// Bytes of the longest constant expression of a section.
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

/// What a section adds to one instance of the module, or to the component, that it is in.
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
            let is_made = |it: &Instance<'_>| matches!(it, Instance::Instantiate { .. });
            let count = items.clone().into_iter().flatten().filter(is_made).count();
            added.add(count as u64, module);
        }
        Payload::ComponentInstanceSection(items) => {
            let is_made =
                |it: &ComponentInstance<'_>| matches!(it, ComponentInstance::Instantiate { .. });
            let count = items.clone().into_iter().flatten().filter(is_made).count();
            added.add(count as u64, component);
        }
        _ => {}
    }
    added
}

/// What the memories of a section start with.
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
    fn a_module_is_one_instance_and_the_sum_of_its_memories() {
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
    fn bytes_that_are_no_module_have_no_footprint() {
        let module = wat::parse_str("(module (memory 1))").unwrap();
        for len in 0..module.len() {
            Footprint::read(&module[..len]);
        }
        assert_eq!(Footprint::read(b"text").instances, 0);
    }
}
