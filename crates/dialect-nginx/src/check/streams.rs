//! `stream`: servers of TCP and UDP.

use super::variables::Variables;
use super::{Checked, Checker, Within};
use crate::table::Module;
use crate::tree::Directive;
use crate::value;

impl<'a> Checker<'a> {
    pub(super) fn stream_directive(&mut self, directive: &'a Directive, within: Within<'a>) -> Checked {
        match (within.context.place, directive.name.as_str()) {
            ("stream", "upstream") => self.upstream(directive),
            ("upstream", _) => self.upstream_line(directive, within),
            (_, "listen") => {
                let text = directive.arg(0);
                let wrong =
                    |why| directive.mistake(format!("{why} in \"{text}\" of the \"listen\" directive"));
                value::listen(text).map(|_| ()).map_err(wrong)
            }
            (_, "proxy_pass") => self.stream_target(directive),
            _ => Ok(()),
        }
    }

    /// The end of `stream`.
    pub(super) fn stream_finished(&mut self, stream: &'a Directive) -> Checked {
        for server in stream.all("server") {
            if server.last("proxy_pass").is_none() && server.last("return").is_none() {
                return Err(server.mistake("no handler for server"));
            }
            if server.last("listen").is_none() {
                return Err(server.mistake("no \"listen\" is defined for server"));
            }
        }
        self.upstreams.clear();
        self.variables = Variables::new(Module::Http);
        Ok(())
    }
}
