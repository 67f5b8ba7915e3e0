//! The stock bots, which come with the host: WebAssembly core modules, or components, inside its binary.

/// A bot that comes with the host.
#[derive(Debug, Clone, Copy)]
pub struct StockBot {
    /// What operators call it, such as `watchbot`.
    pub name: &'static str,
    /// The component, or a core module of which the runtime makes one.
    pub component: &'static [u8],
}

/// Every stock bot, in the order of the pipeline. Written by the build script.
pub const STOCK_BOTS: &[StockBot] = include!(concat!(env!("OUT_DIR"), "/stock_bots.rs"));

/// The stock bot of this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static StockBot> {
    STOCK_BOTS.iter().find(|bot| bot.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_component_can_be_made_of_every_stock_bot() {
        for bot in STOCK_BOTS {
            let component = foundry_componentize::component(bot.component).unwrap();
            assert_eq!(
                component.get(..8),
                Some(b"\0asm\x0d\0\x01\0".as_slice()),
                "{} does not begin as a component does",
                bot.name
            );
        }
    }

    #[test]
    fn the_whole_pipeline_is_embedded() {
        let names: Vec<_> = STOCK_BOTS.iter().map(|bot| bot.name).collect();
        assert_eq!(names, ["watchbot", "buildbot", "signbot", "distbot"]);
    }

    #[test]
    fn a_stock_bot_is_found_by_its_exact_name_only() {
        for bot in STOCK_BOTS {
            assert_eq!(find(bot.name).map(|found| found.name), Some(bot.name));
        }
        assert!(find("Watchbot").is_none());
        assert!(find("").is_none());
    }
}
