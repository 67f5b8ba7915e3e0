//! The contract `foundry:bot` as Rust types, generated from `wit/`.

#![allow(missing_docs, reason = "generated; the documentation is in wit/")]

wasmtime::component::bindgen!({
    path: "../wit",
    world: "bot",
    imports: { default: async | trappable },
    exports: { default: async },
    with: {
        "foundry:bot/git.source": crate::capability::git::Checkout,
        "foundry:bot/site.transaction": crate::capability::site::Transaction,
    },
});
