//! What tells one series from another: the attributes of a flow, as far as the configuration chose them.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use netsonde_probes::descriptor::{Attribute as Key, AttributeType, Stability};
use netsonde_probes::records::{Flow, Role, Transport};

use crate::config::FlowAttribute;
use crate::enrich::{Process, Runtime};
use crate::telemetry::{Attribute, AttributeValue};

/// The one attribute that only metrics carry: log records have `netsonde.process.ancestors` instead.
pub static PROCESS_ANCESTRY: Key = Key {
    name: "netsonde.process.ancestry",
    value_type: AttributeType::StringArray,
    description: "names of the parents' binaries, nearest first",
    stability: Stability::Stable,
};

/// A flow with the names of everything that the kernel knows by number.
#[derive(Debug, Clone)]
pub struct NamedFlow {
    /// The owner; `None` when no process is known.
    pub process: Option<Arc<Process>>,
    /// The owner's user.
    pub user: Option<Arc<str>>,
    /// Over what.
    pub transport: Transport,
    /// What goes over that, if it can be told.
    pub application: Option<&'static str>,
    /// Which side.
    pub role: Role,
    /// The serving side.
    pub server: (IpAddr, u16),
    /// The name that a client asked for it by, if it is known.
    pub server_name: Option<Arc<str>>,
    /// The connecting side, if it was kept.
    pub client: Option<IpAddr>,
    /// Inode number of the network namespace; 0 when not known.
    pub network_namespace: u32,
}

impl NamedFlow {
    /// Joins a flow with its process and user.
    #[must_use]
    pub fn new(flow: &Flow, process: Option<Arc<Process>>, user: Option<Arc<str>>) -> Self {
        Self {
            process,
            user,
            transport: flow.transport,
            application: flow.application,
            role: flow.role,
            server: (flow.server_address, flow.server_port),
            server_name: None,
            client: flow.client_address,
            network_namespace: flow.network_namespace,
        }
    }

    /// Nothing is known of it but that it happened: a reset for a port that nobody has.
    fn is_nobodys(&self) -> bool {
        self.role == Role::Unknown
    }
}

/// `ipv4` or `ipv6`, the value of `network.type`.
#[must_use]
pub fn network_type(address: IpAddr) -> &'static str {
    if address.is_ipv4() { "ipv4" } else { "ipv6" }
}

/// The serving side of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Host {
    Name(Arc<str>),
    Address(IpAddr),
}

/// The chosen attributes of a flow. Those that were not chosen, or are not known, are absent.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Identity {
    transport: Option<&'static str>,
    application: Option<&'static str>,
    network_type: Option<&'static str>,
    role: Option<&'static str>,
    server_address: Option<Host>,
    server_port: Option<u16>,
    peer_address: Option<IpAddr>,
    path: Option<Arc<str>>,
    name: Option<Arc<str>>,
    script: Option<Arc<str>>,
    unit: Option<Arc<str>>,
    user_unit: Option<Arc<str>>,
    slice: Option<Arc<str>>,
    container: Option<Arc<str>>,
    runtime: Option<&'static str>,
    ancestry: Option<Vec<Arc<str>>>,
    user: Option<Arc<str>>,
    pid: Option<u32>,
    client_address: Option<IpAddr>,
    network_namespace: Option<u32>,
}

impl Identity {
    /// The chosen part of a flow.
    #[must_use]
    pub fn of(flow: &NamedFlow, chosen: &BTreeSet<FlowAttribute>) -> Self {
        let mut identity = Self::default();
        let process = flow.process.as_deref();
        let context = process.and_then(|p| p.context.as_deref());
        let container = context.and_then(|c| c.container.as_ref());
        for attribute in chosen {
            match attribute {
                FlowAttribute::NetworkTransport => identity.transport = Some(flow.transport.as_str()),
                FlowAttribute::NetworkProtocolName => identity.application = flow.application,
                _ if flow.is_nobodys() => {}
                FlowAttribute::NetworkType => identity.network_type = Some(network_type(flow.server.0)),
                FlowAttribute::SocketRole => identity.role = flow.role.as_str(),
                FlowAttribute::ServerAddress => {
                    let name = flow.server_name.clone().map(Host::Name);
                    identity.server_address = Some(name.unwrap_or(Host::Address(flow.server.0)));
                }
                FlowAttribute::ServerPort => identity.server_port = Some(flow.server.1),
                FlowAttribute::PeerAddress => {
                    identity.peer_address = (flow.role == Role::Client).then_some(flow.server.0);
                }
                FlowAttribute::ProcessExecutablePath => {
                    identity.path =
                        process.map(|p| &p.program.path).filter(|p| !p.is_empty()).map(Arc::clone);
                }
                FlowAttribute::ProcessExecutableName => identity.name = process.map(|p| p.name().into()),
                FlowAttribute::ProcessAncestry => {
                    identity.ancestry = process.map(|p| p.ancestors().map(|a| a.name().into()).collect());
                }
                FlowAttribute::ProcessUserName => identity.user.clone_from(&flow.user),
                FlowAttribute::ProcessPid => {
                    identity.pid = process.filter(|p| !p.is_kernel()).map(|p| p.id.pid);
                }
                FlowAttribute::ProcessScriptPath => {
                    identity.script = process.and_then(|p| p.program.script.clone());
                }
                FlowAttribute::SystemdUnit => identity.unit = context.and_then(|c| c.unit.clone()),
                FlowAttribute::SystemdUserUnit => {
                    identity.user_unit = context.and_then(|c| c.user_unit.clone());
                }
                FlowAttribute::SystemdSlice => identity.slice = context.and_then(|c| c.slice.clone()),
                FlowAttribute::ContainerId => identity.container = container.map(|c| Arc::clone(&c.id)),
                FlowAttribute::ContainerRuntimeName => {
                    identity.runtime = container.and_then(|c| c.runtime).map(Runtime::as_str);
                }
                FlowAttribute::ClientAddress => identity.client_address = flow.client,
                FlowAttribute::NetworkNamespace => identity.network_namespace = Some(flow.network_namespace),
            }
        }
        identity
    }

    /// As they are exported.
    #[must_use]
    pub fn attributes(&self) -> Vec<Attribute> {
        let text = |t: &Arc<str>| AttributeValue::String(Arc::clone(t));
        let word = |w: &'static str| AttributeValue::String(w.into());
        let address = |a: IpAddr| AttributeValue::String(a.to_string().into());
        let names = |names: &Vec<Arc<str>>| AttributeValue::Array(names.iter().map(text).collect());
        let host = |host: &Host| match host {
            Host::Name(name) => text(name),
            Host::Address(a) => address(*a),
        };
        let all: [(&'static str, Option<AttributeValue>); 20] = [
            ("network.transport", self.transport.map(word)),
            ("network.protocol.name", self.application.map(word)),
            ("network.type", self.network_type.map(word)),
            ("netsonde.socket.role", self.role.map(word)),
            ("server.address", self.server_address.as_ref().map(host)),
            ("server.port", self.server_port.map(|p| AttributeValue::Int(p.into()))),
            ("network.peer.address", self.peer_address.map(address)),
            ("process.executable.path", self.path.as_ref().map(text)),
            ("process.executable.name", self.name.as_ref().map(text)),
            ("netsonde.process.script.path", self.script.as_ref().map(text)),
            ("systemd.unit", self.unit.as_ref().map(text)),
            ("systemd.user_unit", self.user_unit.as_ref().map(text)),
            ("systemd.slice", self.slice.as_ref().map(text)),
            ("container.id", self.container.as_ref().map(text)),
            ("container.runtime.name", self.runtime.map(word)),
            (PROCESS_ANCESTRY.name, self.ancestry.as_ref().map(names)),
            ("process.user.name", self.user.as_ref().map(text)),
            ("process.pid", self.pid.map(|p| AttributeValue::Int(p.into()))),
            ("client.address", self.client_address.map(address)),
            ("netsonde.network.namespace", self.network_namespace.map(|n| AttributeValue::Int(n.into()))),
        ];
        all.into_iter().filter_map(|(key, value)| Some((key, value?))).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn attributes(role: Role, name: Option<&str>) -> Vec<(&'static str, String)> {
        let flow = NamedFlow {
            process: None,
            user: None,
            transport: Transport::Tcp,
            application: None,
            role,
            server: (IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 443),
            server_name: name.map(Into::into),
            client: None,
            network_namespace: 1,
        };
        let chosen = [FlowAttribute::ServerAddress, FlowAttribute::PeerAddress].into();
        let text =
            |value| if let AttributeValue::String(text) = value { text.to_string() } else { String::new() };
        let attributes = Identity::of(&flow, &chosen).attributes();
        attributes.into_iter().map(|(key, value)| (key, text(value))).collect()
    }

    #[test]
    fn a_client_s_server_has_its_name_and_its_address() {
        let server = |host: &str| ("server.address", host.to_owned());
        let peer = ("network.peer.address", "192.0.2.1".to_owned());
        let named = attributes(Role::Client, Some("example.org"));
        assert_eq!(named, [server("example.org"), peer.clone()]);
        assert_eq!(attributes(Role::Client, None), [server("192.0.2.1"), peer]);
        assert_eq!(attributes(Role::Server, None), [server("192.0.2.1")]);
    }
}
