//! Makes WebAssembly components of core modules.
//!
//! A compiler yields a core module. `wit-bindgen` leaves the module's world in a custom section of it, from which a
//! component can be made by anybody: the host does so when it loads such a module, and `foundry-host build` when it
//! builds a bot. So a bot's author needs a compiler and a linker, and no tool that knows components.
//!
//! A module may import WASI preview 1 (`wasi_snapshot_preview1`), as C programs and Rust's `wasm32-wasip1` do. The
//! component then imports WASI 0.2 instead, by way of the adapter that comes with wasmtime.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata, metadata};
use wit_parser::{Resolve, WorldId};

/// The first eight bytes of a core module: magic number, version 1, layer 0. A component's layer is 1.
const CORE_MODULE: &[u8] = b"\0asm\x01\0\0\0";

/// Why no component can be made of a module.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ComponentizeError {
    /// It begins as a core module does and is none: cut off, for instance, or damaged.
    #[error("it is a damaged core module: {0}")]
    Invalid(String),
    /// Nothing in the module says what it imports and exports as a component.
    #[error("it is a core module that does not say which world it is of (build it with a Foundry SDK)")]
    NoWorld,
    /// The module's world can't be read, or is not what the module imports and exports.
    #[error("it is a core module, and no component can be made of it: {0}")]
    Encoding(String),
}

impl ComponentizeError {
    fn encoding(error: impl std::fmt::Display) -> Self {
        // The alternate form has the causes as well.
        Self::Encoding(format!("{error:#}"))
    }
}

/// Whether the bytes begin as a core module does, rather than a component or another file.
#[must_use]
pub fn is_core_module(bytes: &[u8]) -> bool {
    bytes.starts_with(CORE_MODULE)
}

/// A component: made of the bytes if they are a core module, otherwise the bytes as they are.
///
/// Bytes that are neither are returned as well; whoever compiles them says what is wrong.
///
/// # Errors
/// [`ComponentizeError`] for a core module that has no world, or does not fit it.
pub fn component(bytes: &[u8]) -> Result<Cow<'_, [u8]>, ComponentizeError> {
    match is_core_module(bytes) {
        true => encode(bytes).map(Cow::Owned),
        false => Ok(Cow::Borrowed(bytes)),
    }
}

/// A component of the given world, made of a core module that does not have its world in it.
///
/// # Errors
/// [`ComponentizeError::Encoding`] if the module does not fit the world.
pub fn component_of_world(module: &[u8], resolve: &Resolve, world: WorldId) -> Result<Vec<u8>, ComponentizeError> {
    let mut module = module.to_vec();
    embed_component_metadata(&mut module, resolve, world, StringEncoding::UTF8).map_err(ComponentizeError::encoding)?;
    encode(&module)
}

fn encode(module: &[u8]) -> Result<Vec<u8>, ComponentizeError> {
    // The encoder trusts the lengths that a module states, and panics where it is cut off.
    wasmparser::validate(module).map_err(|error| ComponentizeError::Invalid(error.to_string()))?;
    // The encoder takes a module without a world for one of an empty world.
    let (world, _) = metadata::decode(module).map_err(ComponentizeError::encoding)?;
    if world.is_none() {
        return Err(ComponentizeError::NoWorld);
    }
    // The adapter becomes a part of the component only if the module imports what it offers.
    ComponentEncoder::default()
        .module(module)
        .and_then(|encoder| {
            encoder.adapter(
                WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME,
                WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
            )
        })
        .and_then(|encoder| encoder.validate(true).encode())
        .map_err(ComponentizeError::encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(module (func (export "answer") (result i32) i32.const 42))`
    const PLAIN: &[u8] = b"\0asm\x01\0\0\0\
        \x01\x05\x01\x60\0\x01\x7f\
        \x03\x02\x01\0\
        \x07\x0a\x01\x06answer\0\0\
        \x0a\x06\x01\x04\0\x41\x2a\x0b";

    /// Exports `answer` and a memory, and imports a function `random_get` of two numbers from a module with a name of
    /// 22 letters.
    fn importing(from: &str) -> Vec<u8> {
        assert_eq!(from.len(), 22);
        let mut module = b"\0asm\x01\0\0\0\x01\x0b\x02\x60\0\x01\x7f\x60\x02\x7f\x7f\x01\x7f\x02\x25\x01\x16".to_vec();
        module.extend_from_slice(from.as_bytes());
        module.extend_from_slice(
            b"\x0arandom_get\0\x01\
            \x03\x02\x01\0\
            \x05\x03\x01\0\x01\
            \x07\x13\x02\x06memory\x02\0\x06answer\0\x01\
            \x0a\x0a\x01\x08\0\x41\0\x41\x04\x10\0\x0b",
        );
        module
    }

    fn world(text: &str) -> (Resolve, WorldId) {
        let mut resolve = Resolve::default();
        let package = resolve
            .push_str("test.wit", &format!("package test:bot; world bot {{ {text} }}"))
            .unwrap();
        let world = resolve.select_world(&[package], Some("bot")).unwrap();
        (resolve, world)
    }

    fn with_world(module: &[u8], text: &str) -> Vec<u8> {
        let (resolve, world) = world(text);
        let mut module = module.to_vec();
        embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).unwrap();
        module
    }

    const ANSWER: &str = "export answer: func() -> u32;";

    fn is_component(bytes: &[u8]) -> bool {
        bytes.starts_with(b"\0asm\x0d\0\x01\0")
    }

    #[test]
    fn a_module_that_carries_its_world_becomes_a_component() {
        let module = with_world(PLAIN, ANSWER);
        assert!(is_core_module(&module));
        let component = component(&module).unwrap();
        assert!(is_component(&component));
        let (resolve, world) = world(ANSWER);
        assert!(is_component(&component_of_world(PLAIN, &resolve, world).unwrap()));
    }

    #[test]
    fn the_same_module_gives_the_same_component() {
        let module = with_world(PLAIN, ANSWER);
        assert_eq!(component(&module).unwrap(), component(&module).unwrap());
    }

    #[test]
    fn a_component_and_what_is_no_wasm_stay_as_they_are() {
        let made = component(&with_world(PLAIN, ANSWER)).unwrap().into_owned();
        for bytes in [&made[..], b"", b"\0asm", b"not wasm"] {
            assert_eq!(component(bytes).unwrap(), bytes);
        }
    }

    #[test]
    fn a_module_without_a_world_is_refused() {
        for module in [PLAIN, CORE_MODULE] {
            assert_eq!(component(module), Err(ComponentizeError::NoWorld));
        }
    }

    #[test]
    fn wasi_preview_1_is_adapted_and_other_imports_are_refused_by_name() {
        let made = component(&with_world(&importing("wasi_snapshot_preview1"), ANSWER))
            .unwrap()
            .into_owned();
        let text = String::from_utf8_lossy(&made);
        assert!(is_component(&made) && text.contains("wasi:random/random@0.2"), "{text}");

        let error = component(&with_world(&importing("some_library_elsewhere"), ANSWER)).unwrap_err();
        assert!(error.to_string().contains("some_library_elsewhere"), "{error}");
    }

    #[test]
    fn a_module_that_does_not_fit_its_world_is_refused() {
        let error = component(&with_world(PLAIN, "export question: func() -> u32;")).unwrap_err();
        assert!(
            matches!(&error, ComponentizeError::Encoding(why) if why.contains("question")),
            "{error}"
        );
    }

    #[test]
    fn a_module_that_is_cut_off_is_refused_wherever_it_is_cut() {
        let whole = with_world(PLAIN, ANSWER);
        // The empty module, and those that end between two sections, are valid; they lack their world.
        for end in CORE_MODULE.len()..whole.len() {
            let error = component(&whole[..end]).unwrap_err();
            assert!(
                matches!(error, ComponentizeError::Invalid(_) | ComponentizeError::NoWorld),
                "{end}: {error}"
            );
        }
    }

    #[test]
    fn a_damaged_module_gives_an_error_or_a_component() {
        let whole = with_world(&importing("wasi_snapshot_preview1"), ANSWER);
        for at in CORE_MODULE.len()..whole.len() {
            for damage in [0x01, 0x80, 0xff] {
                let mut damaged = whole.clone();
                damaged[at] ^= damage;
                if let Ok(made) = component(&damaged) {
                    assert!(is_component(&made), "{at}");
                }
            }
        }
    }
}
