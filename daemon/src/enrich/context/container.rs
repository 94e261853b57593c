//! Which container a cgroup path belongs to, by the names that runtimes give to the cgroups they make. The
//! innermost one counts. The processes that watch over a container (conmon, LXC's monitor, nspawn itself)
//! are not in it.

use std::sync::Arc;

/// A container.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Container {
    /// The runtime's own id, in full: 64 hexadecimal digits with OCI runtimes, else a name.
    pub id: Arc<str>,
    /// Who runs it; `None` where the path does not say.
    pub runtime: Option<Runtime>,
}

/// Who runs a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// Docker Engine.
    Docker,
    /// A step of a build with `RUN`, by dockerd or by buildkitd.
    Buildkit,
    /// containerd without Docker: through CRI, nerdctl or ctr.
    Containerd,
    /// Podman.
    Podman,
    /// CRI-O.
    CriO,
    /// LXC, LXD or Incus, whose containers are LXC's.
    Lxc,
    /// The LXC driver of libvirt, which shares only the name with LXC.
    LibvirtLxc,
    /// systemd-nspawn.
    Nspawn,
}

impl Runtime {
    /// Value of `container.runtime.name` (OpenTelemetry semantic conventions, "Container").
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Buildkit => "buildkit",
            Self::Containerd => "containerd",
            Self::Podman => "podman",
            Self::CriO => "cri-o",
            Self::Lxc => "lxc",
            // As systemd-detect-virt(1) says it.
            Self::LibvirtLxc => "lxc-libvirt",
            Self::Nspawn => "systemd-nspawn",
        }
    }
}

/// A container and how many others it is in, as far as the path shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nested {
    /// The innermost container.
    pub container: Container,
    /// 0 for one that runs on the host itself.
    pub depth: usize,
}

/// Prefixes of the cgroups of OCI containers, before a full id. Docker: daemon/oci_linux.go of moby;
/// cri-containerd: `getCgroupsPath()` of containerd; nerdctl: `generateCgroupPath()` of nerdctl; Podman:
/// `getOCICgroupPath()` in libpod/container_internal_linux.go; CRI-O: internal/config/cgmgr. A monitor's `libpod-conmon-ID` and `crio-conmon-ID` leave no full id.
const PREFIXES: [(&str, Runtime); 6] = [
    ("docker", Runtime::Docker),
    ("cri-containerd", Runtime::Containerd),
    ("nerdctl", Runtime::Containerd),
    ("libpod-payload", Runtime::Podman),
    ("libpod", Runtime::Podman),
    ("crio", Runtime::CriO),
];

/// Finds the innermost container on a path within its hierarchy.
#[must_use]
pub fn innermost(path: &str) -> Option<Nested> {
    let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
    let mut above = ["", "", ""];
    // The innermost so far, and the one around it.
    let (mut inner, mut outer): (Option<Nested>, Option<Nested>) = (None, None);
    while let Some(part) = parts.next() {
        let [parent, grandparent, _] = above;
        let child = parts.peek().copied().unwrap_or("");
        let place = Place { above, parent, grandparent, part, child };
        if place.is_monitor_of_parent() {
            inner = outer.take();
        } else if let Some(container) = place.container() {
            let depth = inner.as_ref().map_or(0, |around| around.depth + 1);
            outer = inner.replace(Nested { container, depth });
        }
        above = [part, parent, grandparent];
    }
    inner
}

/// One component of a path among its neighbours; an empty neighbour is none.
struct Place<'a> {
    /// Three of them, nearest first.
    above: [&'a str; 3],
    parent: &'a str,
    grandparent: &'a str,
    part: &'a str,
    child: &'a str,
}

impl Place<'_> {
    fn container(&self) -> Option<Container> {
        self.oci().or_else(|| self.lxc()).or_else(|| self.machine())
    }

    /// Whether this is the monitor of what the parent's name says is a container: LXC's, which
    /// `lxc.cgroup.pattern` puts below a directory of the container's name (`cgfsng_monitor_create()` in
    /// src/lxc/cgroups/cgfsng.c), or Podman's in a pod, whose cgroup is named by the pod's id.
    fn is_monitor_of_parent(&self) -> bool {
        let lxc = self.grandparent == "lxc" && self.part == "lxc.monitor";
        let podman = is_full_id(self.parent) && self.part == "conmon";
        (lxc || podman) && self.child.is_empty()
    }

    fn oci(&self) -> Option<Container> {
        let name = self.part.strip_suffix(".scope").unwrap_or(self.part);
        for (prefix, runtime) in PREFIXES {
            let Some(id) = name.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('-')) else {
                continue;
            };
            if is_full_id(id) {
                return Some(container(id, Some(runtime)));
            }
            // With the systemd driver dockerd hands `system.slice:docker:` on to BuildKit, which appends
            // its own id (newCgroupParent() in cmd/dockerd of moby).
            if runtime == Runtime::Docker && is_build_id(id) && name != self.part {
                return Some(container(id, Some(Runtime::Buildkit)));
            }
        }
        if self.parent == "buildkit" && is_build_id(self.part) {
            return Some(container(self.part, Some(Runtime::Buildkit)));
        }
        if is_full_id(self.part) {
            return self.bare_id();
        }
        // A path in systemd's form that was handed to a runtime which makes cgroups by itself:
        // `kubepods-….slice:cri-containerd:ID`, containerd without `SystemdCgroup = true`.
        let (rest, id) = self.part.rsplit_once(':')?;
        let (_, prefix) = rest.rsplit_once(':')?;
        let runtime = PREFIXES.iter().find(|(p, _)| *p == prefix).map(|(_, runtime)| *runtime);
        is_full_id(id).then(|| container(id, runtime))
    }

    /// A cgroup named by a full id and nothing else: the parent's name may tell whose it is. A parent that
    /// the user (`--cgroup-parent`) or Kubernetes (`/kubepods/…`) chose does not.
    fn bare_id(&self) -> Option<Container> {
        let runtime = match (self.grandparent, self.parent) {
            // A pod of Podman's: its containers are called libpod-ID (refresh() in libpod/pod_internal.go).
            (_, "libpod_parent") => return None,
            (_, "docker") => Some(Runtime::Docker),
            // containerd's own `/<namespace>/<id>`: nerdctl's namespace, and CRI's.
            ("", "default") | (_, "k8s.io") => Some(Runtime::Containerd),
            _ => None,
        };
        Some(container(self.part, runtime))
    }

    /// `lxc.payload.NAME` since LXC 4, `lxc.payload/NAME` in LXC 3.1 and `lxc/NAME` before and in Proxmox
    /// (src/lxc/cgroups/cgfsng.c). LXC appends `-1` and so on to a cgroup's name that is taken; that
    /// cannot be told from a name.
    fn lxc(&self) -> Option<Container> {
        let name = match self.part.strip_prefix("lxc.payload.") {
            Some(name) => name,
            None if self.part.starts_with("lxc.") || self.part == "lxc" => return None,
            // With `lxc.cgroup.pattern` the name has come before: `lxc/NAME/lxc.payload`.
            None if self.above[2] == "lxc" && self.parent == "lxc.payload" => return None,
            None if self.parent == "lxc" || self.parent == "lxc.payload" => self.part,
            None => return None,
        };
        (!name.is_empty()).then(|| container(name, Some(Runtime::Lxc)))
    }

    /// Machines of systemd-nspawn and libvirt. nspawn keeps the container in `payload` and itself, where it
    /// shares the unit, in `supervisor` (`create_subcgroup()` in src/nspawn/nspawn-cgroup.c).
    fn machine(&self) -> Option<Container> {
        if let Some(name) = self.part.strip_suffix(".libvirt-lxc") {
            return (!name.is_empty()).then(|| container(name, Some(Runtime::LibvirtLxc)));
        }
        if self.child == "supervisor" {
            return None;
        }
        if let Some(name) = enclosed(self.part, "systemd-nspawn@", ".service") {
            // `--machine=%i`: the instance as it is written. Without anything below, it is nspawn itself.
            let inside = !self.child.is_empty() && self.child != ".control";
            return (inside && is_machine_name(name)).then(|| container(name, Some(Runtime::Nspawn)));
        }
        if let Some(escaped) = enclosed(self.part, "machine-", ".scope") {
            // machine_start_scope() in src/machine/machine-dbus.c.
            let name = unescape(escaped)?;
            let runtime = match name.split_once('-') {
                // virDomainDriverGenerateMachineName() of libvirt: driver, number, name.
                Some(("lxc", _)) => Runtime::LibvirtLxc,
                Some(("qemu", _)) => return None,
                Some(("ch", rest)) if rest.starts_with(|c: char| c.is_ascii_digit()) => return None,
                _ => Runtime::Nspawn,
            };
            return is_machine_name(&name).then(|| container(&name, Some(runtime)));
        }
        // nspawn that makes its scope itself: allocate_scope() in src/nspawn/nspawn-register.c. The same
        // name without a payload is a virtual machine of systemd-vmspawn.
        let name = self.part.strip_suffix(".scope")?;
        (self.parent == "machine.slice" && self.child == "payload" && is_machine_name(name))
            .then(|| container(name, Some(Runtime::Nspawn)))
    }
}

fn container(id: &str, runtime: Option<Runtime>) -> Container {
    Container { id: id.into(), runtime }
}

fn enclosed<'a>(text: &'a str, prefix: &str, suffix: &str) -> Option<&'a str> {
    text.strip_prefix(prefix)?.strip_suffix(suffix)
}

/// 64 lower-case hexadecimal digits: 32 random bytes, as moby, containerd's CRI plugin, nerdctl, Podman and
/// CRI-O make them.
fn is_full_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

/// 25 digits to the base 36, as BuildKit makes them (`NewID()` in identity/randomid.go).
fn is_build_id(text: &str) -> bool {
    text.len() == 25 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'z'))
}

/// A host name by its letters, as machined wants it (`hostname_is_valid()`); underscores included.
fn is_machine_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
}

/// Undoes the `\xHH` of `unit_name_escape()` (src/basic/unit-name.c); `None` for anything else after a
/// backslash, and for what is not text. A bare `-`, which would stand for a `/`, is left alone: no name of
/// a machine has one.
fn unescape(text: &str) -> Option<String> {
    let mut pieces = text.split('\\');
    let mut bytes = Vec::with_capacity(text.len());
    bytes.extend_from_slice(pieces.next()?.as_bytes());
    for piece in pieces {
        let digits = piece.strip_prefix('x')?;
        let (code, rest) = digits.split_at_checked(2)?;
        if !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_full_or_none() {
        let full = "0123456789abcdef".repeat(4);
        assert!(is_full_id(&full));
        assert!(!is_full_id(&full[1..]));
        assert!(!is_full_id(&full.to_uppercase()));
        assert!(!is_full_id(&format!("{full}0")));
    }

    #[test]
    fn escapes_that_are_none_are_refused() {
        assert_eq!(unescape("a\\x2db").as_deref(), Some("a-b"));
        assert_eq!(unescape("plain").as_deref(), Some("plain"));
        for wrong in ["a\\", "a\\x", "a\\x2", "a\\n00", "a\\x+1", "a\\xff", "\\xé"] {
            assert_eq!(unescape(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn depth_counts_the_containers_around() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let nested = innermost(&format!("/docker/{a}/docker/{b}/init")).expect("a container");
        assert_eq!((&*nested.container.id, nested.depth), (&*b, 1));
        assert_eq!(innermost(&format!("/docker/{a}")).expect("a container").depth, 0);
    }

    #[test]
    fn a_monitor_inside_a_container_belongs_to_that_container() {
        let (a, b) = ("a".repeat(64), "b".repeat(64));
        let found = innermost(&format!("/docker/{a}/libpod-conmon-{b}.scope")).expect("a container");
        assert_eq!(&*found.container.id, a);
        let found = innermost(&format!("/docker/{a}/lxc/web/lxc.monitor")).expect("a container");
        assert_eq!((&*found.container.id, found.depth), (&*a, 0));
    }
}
