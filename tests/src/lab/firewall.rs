//! Rules that discard packets on a host of the lab.

use super::{Host, Lab, network};
use crate::shell;
use anyhow::{Context as _, Result};

/// A rule of nftables on a host, which discards what it matches, and counts it. Dropping it removes all rules of the host.
#[derive(Debug)]
pub struct FirewallRule {
    namespace: String,
    family: String,
}

impl Lab {
    /// Adds a chain at a hook of netfilter with one rule: `("ip", "output", "udp dport 53")`.
    ///
    /// # Errors
    /// `nft` refuses it.
    pub fn discard(
        &self,
        host: Host,
        family: &str,
        hook: &str,
        matches: &str,
    ) -> Result<FirewallRule> {
        FirewallRule::add(self.namespace(host), family, hook, &format!("{matches} counter drop"))
    }

    /// Adds such a chain whose rule answers what it discards: `("ip", "output", "tcp dport 80", "icmp host-prohibited")`.
    ///
    /// # Errors
    /// `nft` refuses it.
    pub fn reject(
        &self,
        host: Host,
        family: &str,
        hook: &str,
        matches: &str,
        answer: &str,
    ) -> Result<FirewallRule> {
        let rule = format!("{matches} counter reject with {answer}");
        FirewallRule::add(self.namespace(host), family, hook, &rule)
    }

    /// Adds a rule to the bridge between the hosts: `("forward", "udp dport 53")`.
    ///
    /// # Errors
    /// `nft` refuses it.
    pub fn discard_on_bridge(&self, hook: &str, matches: &str) -> Result<FirewallRule> {
        let switch = network::namespace(self.slot, network::SWITCH);
        FirewallRule::add(switch, "bridge", hook, &format!("{matches} counter drop"))
    }
}

impl FirewallRule {
    fn add(namespace: String, family: &str, hook: &str, rule: &str) -> Result<Self> {
        let table = format!(
            "table {family} lab {{ chain lab {{ type filter hook {hook} priority 0; {rule}; }}; }}"
        );
        shell::run(&["ip", "netns", "exec", &namespace, "nft", &table])?;
        Ok(Self { namespace, family: family.to_owned() })
    }

    /// Returns the number of packets that it has discarded.
    ///
    /// # Errors
    /// `nft` shows no counter.
    pub fn count(&self) -> Result<u64> {
        let Self { namespace, family } = self;
        let list = ["nft", "list", "chain", family, "lab", "lab"];
        let listed = shell::run(&[&["ip", "netns", "exec", namespace][..], &list].concat())?;
        let text = String::from_utf8(listed.stdout)?;
        let mut words = text.split_whitespace().skip_while(|word| *word != "counter").skip(2);
        words
            .next()
            .and_then(|count| count.parse().ok())
            .with_context(|| format!("no counter in {text}"))
    }
}

impl Drop for FirewallRule {
    fn drop(&mut self) {
        // The host may be gone.
        let _ = shell::run(&["ip", "netns", "exec", &self.namespace, "nft", "flush", "ruleset"]);
    }
}
