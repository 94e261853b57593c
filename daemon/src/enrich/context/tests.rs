use proptest::prelude::*;

use super::*;

// Ids as their runtimes made them.
const A: &str = "9de5d0d3a6fcf2f0a5ed4ec6e2e4b0a9e5b2d2a8c1d7f3e6b5a4c3d2e1f0a9b8";
const B: &str = "05c48c82caff3be3d7f1e896981dd410e81487538936914f32b624d168de9db0";
const BUILD: &str = "n4eu0udvbz9vfzjy71jkvgkwh";

/// What a row expects; an empty word is nothing.
struct Expected<'a> {
    unit: &'a str,
    user_unit: &'a str,
    slice: &'a str,
    id: &'a str,
    runtime: &'a str,
}

fn expect<'a>(
    unit: &'a str,
    user_unit: &'a str,
    slice: &'a str,
    id: &'a str,
    runtime: &'a str,
) -> Expected<'a> {
    Expected { unit, user_unit, slice, id, runtime }
}

fn check(what: &str, context: &Context, expected: &Expected<'_>) {
    let expected = [expected.unit, expected.user_unit, expected.slice, expected.id, expected.runtime];
    let container = context.container.as_ref();
    let found = [
        context.unit.as_deref(),
        context.user_unit.as_deref(),
        context.slice.as_deref(),
        container.map(|c| &*c.id),
        container.and_then(|c| c.runtime).map(Runtime::as_str),
    ];
    assert_eq!(found, expected.map(|word| (!word.is_empty()).then_some(word)), "{what}");
}

/// Puts the ids in, so that a row stays readable.
fn with_ids(text: &str) -> String {
    text.replace("{A}", A).replace("{B}", B).replace("{BUILD}", BUILD)
}

/// Rows of path, unit, user unit, slice, id, runtime.
fn check_paths(rows: &[(&str, &str, &str, &str, &str, &str)]) {
    for (path, unit, user_unit, slice, id, runtime) in rows {
        let [path, unit, user_unit, id] = [path, unit, user_unit, id].map(|text| with_ids(text));
        check(&path, &Context::of_path(&path), &expect(&unit, &user_unit, slice, &id, runtime));
    }
}

#[test]
fn units_are_read_as_systemd_reads_them() {
    check_paths(&[
        ("/", "", "", "", "", ""),
        ("", "", "", "", "", ""),
        ("/init.scope", "init.scope", "", "", "", ""),
        ("/system.slice", "", "", "system.slice", "", ""),
        ("/system.slice/ssh.service", "ssh.service", "", "system.slice", "", ""),
        ("system.slice//ssh.service/", "ssh.service", "", "system.slice", "", ""),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service",
            "",
            "system-getty.slice",
            "",
            "",
        ),
        (
            "/system.slice/system-postgresql.slice/postgresql@15-main.service",
            "postgresql@15-main.service",
            "",
            "system-postgresql.slice",
            "",
            "",
        ),
        (
            "/system.slice/system-serial\\x2dgetty.slice/serial-getty@ttyS0.service",
            "serial-getty@ttyS0.service",
            "",
            "system-serial\\x2dgetty.slice",
            "",
            "",
        ),
        ("/system.slice/dev-hugepages.mount", "dev-hugepages.mount", "", "system.slice", "", ""),
        ("/system.slice/systemd-udevd.service/udev", "systemd-udevd.service", "", "system.slice", "", ""),
        ("/system.slice/nginx.service/.control", "nginx.service", "", "system.slice", "", ""),
        (
            "/system.slice/ssh@3-10.0.0.2:22-10.0.0.9:55094.service",
            "ssh@3-10.0.0.2:22-10.0.0.9:55094.service",
            "",
            "system.slice",
            "",
            "",
        ),
        // The mount of a container's shared memory is a unit of the host.
        (
            "/system.slice/var-lib-docker-containers-{A}-mounts-shm.mount",
            "var-lib-docker-containers-{A}-mounts-shm.mount",
            "",
            "system.slice",
            "",
            "",
        ),
        ("/system.slice/{A}.service", "{A}.service", "", "system.slice", "", ""),
        // Hosts without systemd.
        ("/nginx", "", "", "", "", ""),
        ("/openrc.sshd", "", "", "", "", ""),
        ("/..", "", "", "", "", ""),
    ]);
}

#[test]
fn sessions_and_user_units_are_told_apart() {
    let slice = "user-1000.slice";
    let manager = "user@1000.service";
    check_paths(&[
        ("/user.slice/user-1000.slice/session-3.scope", "session-3.scope", "", slice, "", ""),
        ("/user.slice/user-1000.slice/session-c2.scope", "session-c2.scope", "", slice, "", ""),
        (
            "/user.slice/user-0.slice/user@0.service/init.scope",
            "user@0.service",
            "init.scope",
            "user-0.slice",
            "",
            "",
        ),
        ("/user.slice/user-1000.slice/user@1000.service", manager, "", slice, "", ""),
        ("/user.slice/user-1000.slice/user@1000.service/app.slice", manager, "", slice, "", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/syncthing.service",
            manager,
            "syncthing.service",
            slice,
            "",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.slice/vte-spawn-1f2e.scope",
            manager,
            "vte-spawn-1f2e.scope",
            slice,
            "",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-org.gnome.Evolution\\x2dalarm-2201.scope",
            manager,
            "app-gnome-org.gnome.Evolution\\x2dalarm-2201.scope",
            slice,
            "",
            "",
        ),
        // systemd before 246 had no app.slice.
        (
            "/user.slice/user-1000.slice/user@1000.service/dbus.service",
            manager,
            "dbus.service",
            slice,
            "",
            "",
        ),
        (
            "/user.slice/user-42.slice/session-c1.scope/dbus.service",
            "session-c1.scope",
            "dbus.service",
            "user-42.slice",
            "",
            "",
        ),
        (
            "/capsule.slice/capsule@web.service/app.slice/caddy.service",
            "capsule@web.service",
            "caddy.service",
            "capsule.slice",
            "",
            "",
        ),
    ]);
}

#[test]
fn docker_and_its_builds_are_found() {
    check_paths(&[
        ("/docker/{A}", "", "", "", "{A}", "docker"),
        ("/system.slice/docker-{A}.scope", "docker-{A}.scope", "", "system.slice", "{A}", "docker"),
        // A container with systemd in it.
        (
            "/system.slice/docker-{A}.scope/system.slice/ssh.service",
            "docker-{A}.scope",
            "",
            "system.slice",
            "{A}",
            "docker",
        ),
        // Docker in Docker, kind, and one in a container of another runtime.
        ("/docker/{A}/docker/{B}", "", "", "", "{B}", "docker"),
        ("/docker/{A}/init", "", "", "", "{A}", "docker"),
        (
            "/docker/{A}/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0c3b.slice/cri-containerd-{B}.scope",
            "",
            "",
            "",
            "{B}",
            "containerd",
        ),
        ("/lxc.payload.ci/docker/{A}", "", "", "", "{A}", "docker"),
        // --cgroup-parent
        ("/batch.slice/docker-{A}.scope", "docker-{A}.scope", "", "batch.slice", "{A}", "docker"),
        ("/actions_job/{A}", "", "", "", "{A}", ""),
        ("/ecs/0410eff2d7704b1d9ba6c5e8c0a2f5ac/{A}", "", "", "", "{A}", ""),
        // Rootless.
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{A}.scope",
            "user@1000.service",
            "docker-{A}.scope",
            "user-1000.slice",
            "{A}",
            "docker",
        ),
        ("/system.slice/docker.service", "docker.service", "", "system.slice", "", ""),
        ("/system.slice/docker.socket", "docker.socket", "", "system.slice", "", ""),
        ("/docker", "", "", "", "", ""),
        ("/docker/buildkit", "", "", "", "", ""),
        ("/docker/buildkit/{BUILD}", "", "", "", "{BUILD}", "buildkit"),
        ("/docker/{A}/docker/buildkit/{BUILD}", "", "", "", "{BUILD}", "buildkit"),
        ("/buildkit/{BUILD}", "", "", "", "{BUILD}", "buildkit"),
        (
            "/system.slice/docker-{BUILD}.scope",
            "docker-{BUILD}.scope",
            "",
            "system.slice",
            "{BUILD}",
            "buildkit",
        ),
    ]);
}

#[test]
fn kubernetes_and_containerd_are_found() {
    let slice = "kubepods-burstable-pod2b1f5a0e_77c4_4d3a_9d0a_5c7d0c1f7d7e.slice";
    let pod = format!("/kubepods.slice/kubepods-burstable.slice/{slice}");
    for (path, unit, slice, runtime) in [
        (format!("{pod}/cri-containerd-{A}.scope"), format!("cri-containerd-{A}.scope"), slice, "containerd"),
        (format!("{pod}/crio-{A}.scope"), format!("crio-{A}.scope"), slice, "cri-o"),
        (format!("{pod}/crio-{A}.scope/container"), format!("crio-{A}.scope"), slice, "cri-o"),
        (format!("{pod}/docker-{A}.scope"), format!("docker-{A}.scope"), slice, "docker"),
        (
            format!("/system.slice/nerdctl-{A}.scope"),
            format!("nerdctl-{A}.scope"),
            "system.slice",
            "containerd",
        ),
        (format!("/kubepods/burstable/pod2b1f5a0e-77c4-4d3a-9d0a-5c7d0c1f7d7e/{A}"), String::new(), "", ""),
        (format!("/kubepods/pod2b1f5a0e-77c4-4d3a-9d0a-5c7d0c1f7d7e/crio-{A}"), String::new(), "", "cri-o"),
        // containerd with a path for systemd, but without SystemdCgroup = true.
        (
            format!(
                "/system.slice/containerd.service/kubepods-pod87a18a64_b74a_454a_b10b_a4a36059d0a3.slice:cri-containerd:{A}"
            ),
            "containerd.service".to_owned(),
            "system.slice",
            "containerd",
        ),
        (
            format!("/kubepods-besteffort-pod72f7f152_440c_66ac_9084_e0fc1d8a910c.slice:cri-containerd:{A}"),
            String::new(),
            "",
            "containerd",
        ),
        (format!("/x.slice:other:{A}"), String::new(), "", ""),
        (format!("/k8s.io/{A}"), String::new(), "", "containerd"),
        (format!("/default/{A}"), String::new(), "", "containerd"),
        (format!("/of-mine/default/{A}"), String::new(), "", ""),
    ] {
        check(&path, &Context::of_path(&path), &expect(&unit, "", slice, A, runtime));
    }
    for path in [
        pod.clone(),
        format!("{pod}/crio-conmon-{A}.scope"),
        format!("/kubepods/burstable/pod2b1f/crio-conmon-{A}"),
        // A static pod's uid is not a container's id; nor is a short or a guessable name one.
        "/kubepods/burstable/pod4f1e2d3c4b5a69788796a5b4c3d2e1f0".to_owned(),
        "/default/redis".to_owned(),
        "/default/0123456789ab".to_owned(),
        format!("{pod}/cri-containerd-{}.scope", &A[..63]),
        format!("/docker/{}", A.to_uppercase()),
        format!("/docker/x{A}"),
    ] {
        assert_eq!(Context::of_path(&path).container, None, "{path}");
    }
}

#[test]
fn podman_is_found_and_its_monitors_are_not() {
    let user = "/user.slice/user-1000.slice/user@1000.service";
    let scope = format!("libpod-{A}.scope");
    for (path, unit, user_unit, slice) in [
        (format!("/machine.slice/{scope}"), &*scope, "", "machine.slice"),
        (format!("/machine.slice/{scope}/container"), &scope, "", "machine.slice"),
        (format!("/machine.slice/{scope}/init.scope"), &scope, "", "machine.slice"),
        (
            format!("/machine.slice/machine-libpod_pod_{B}.slice/{scope}/container"),
            &scope,
            "",
            &format!("machine-libpod_pod_{B}.slice"),
        ),
        (format!("/libpod_parent/libpod-{A}"), "", "", ""),
        (format!("/libpod_parent/{B}/libpod-{A}"), "", "", ""),
        (format!("{user}/user.slice/{scope}/container"), "user@1000.service", &scope, "user-1000.slice"),
        // Quadlet, and `podman run --cgroups=split`.
        (format!("/system.slice/nginx.service/libpod-payload-{A}"), "nginx.service", "", "system.slice"),
        (
            format!("{user}/app.slice/redis.service/libpod-payload-{A}"),
            "user@1000.service",
            "redis.service",
            "user-1000.slice",
        ),
    ] {
        check(&path, &Context::of_path(&path), &expect(unit, user_unit, slice, A, "podman"));
    }
    for path in [
        format!("/machine.slice/libpod-conmon-{A}.scope"),
        format!("{user}/user.slice/libpod-conmon-{A}.scope"),
        "/libpod_parent/conmon".to_owned(),
        format!("/libpod_parent/{B}/conmon"),
        format!("/of-mine/{B}/conmon"),
        "/system.slice/nginx.service/runtime".to_owned(),
        format!("{user}/user.slice/podman-4711.scope"),
        format!("/machine.slice/machine-libpod_pod_{B}.slice"),
    ] {
        assert_eq!(Context::of_path(&path).container, None, "{path}");
    }
}

#[test]
fn lxc_and_its_descendants_are_found() {
    check_paths(&[
        ("/lxc.payload.web", "", "", "", "web", "lxc"),
        ("/lxc.payload.web/system.slice/nginx.service", "", "", "", "web", "lxc"),
        ("/lxc.payload.web/.lxc", "", "", "", "web", "lxc"),
        ("/lxc.payload.project_web/init.scope", "", "", "", "project_web", "lxc"),
        ("/lxc.payload/web/init.scope", "", "", "", "web", "lxc"),
        ("/lxc/web", "", "", "", "web", "lxc"),
        // Proxmox.
        ("/lxc/101/ns/system.slice/nginx.service", "", "", "", "101", "lxc"),
        // LXC in LXC.
        ("/lxc.payload.outer/lxc.payload.inner/init.scope", "", "", "", "inner", "lxc"),
        ("/lxc.payload/outer/lxc.payload/inner", "", "", "", "inner", "lxc"),
        ("/lxc/outer/lxc.monitor.inner", "", "", "", "outer", "lxc"),
        // Unprivileged, in a scope that the user started.
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/run-u1.scope/lxc.payload.mine",
            "user@1000.service",
            "run-u1.scope",
            "user-1000.slice",
            "mine",
            "lxc",
        ),
        // lxc.cgroup.pattern = lxc/%n
        ("/lxc/web/lxc.payload", "", "", "", "web", "lxc"),
        ("/lxc/web/lxc.payload/init.scope", "", "", "", "web", "lxc"),
        ("/lxc/web/lxc.monitor", "", "", "", "", ""),
        ("/lxc.monitor.web", "", "", "", "", ""),
        ("/lxc.monitor/web", "", "", "", "", ""),
        ("/lxc.pivot", "", "", "", "", ""),
        ("/lxc", "", "", "", "", ""),
        ("/lxc.payload", "", "", "", "", ""),
        ("/lxc.payload.", "", "", "", "", ""),
        ("/system.slice/lxc.service", "lxc.service", "", "system.slice", "", ""),
        ("/system.slice/lxc-monitord.service", "lxc-monitord.service", "", "system.slice", "", ""),
    ]);
}

#[test]
fn machines_are_told_from_virtual_machines() {
    let slice = "machine.slice";
    check_paths(&[
        ("/machine.slice/machine-web.scope", "machine-web.scope", "", slice, "web", "systemd-nspawn"),
        (
            "/machine.slice/machine-my\\x2dbox.scope/payload/system.slice/ssh.service",
            "machine-my\\x2dbox.scope",
            "",
            slice,
            "my-box",
            "systemd-nspawn",
        ),
        ("/machine.slice/my-box.scope/payload", "my-box.scope", "", slice, "my-box", "systemd-nspawn"),
        (
            "/machine.slice/systemd-nspawn@my-box.service/payload/init.scope",
            "systemd-nspawn@my-box.service",
            "",
            slice,
            "my-box",
            "systemd-nspawn",
        ),
        (
            "/machine.slice/machine-lxc\\x2d4711\\x2dshop.scope",
            "machine-lxc\\x2d4711\\x2dshop.scope",
            "",
            slice,
            "lxc-4711-shop",
            "lxc-libvirt",
        ),
        ("/machine/lxc-4711-shop.libvirt-lxc", "", "", "", "lxc-4711-shop", "lxc-libvirt"),
        // Docker in nspawn.
        (
            "/machine.slice/machine-web.scope/payload/docker/{A}",
            "machine-web.scope",
            "",
            slice,
            "{A}",
            "docker",
        ),
        // nspawn itself, and virtual machines.
        (
            "/machine.slice/systemd-nspawn@web.service/supervisor",
            "systemd-nspawn@web.service",
            "",
            slice,
            "",
            "",
        ),
        ("/machine.slice/systemd-nspawn@web.service", "systemd-nspawn@web.service", "", slice, "", ""),
        ("/machine.slice/machine-web.scope/supervisor", "machine-web.scope", "", slice, "", ""),
        (
            "/machine.slice/machine-qemu\\x2d1\\x2ddebian12.scope/libvirt/emulator",
            "machine-qemu\\x2d1\\x2ddebian12.scope",
            "",
            slice,
            "",
            "",
        ),
        ("/machine.slice/machine-ch\\x2d3\\x2dvm.scope", "machine-ch\\x2d3\\x2dvm.scope", "", slice, "", ""),
        ("/machine/qemu-1-debian12.libvirt-qemu/vcpu0", "", "", "", "", ""),
        ("/machine.slice/vm.scope", "vm.scope", "", slice, "", ""),
        ("/system.slice/systemd-machined.service", "systemd-machined.service", "", "system.slice", "", ""),
        ("/machine.slice/machine-.scope", "machine-.scope", "", slice, "", ""),
        ("/machine.slice/machine-a\\x.scope", "machine-a\\x.scope", "", slice, "", ""),
    ]);
}

#[test]
fn the_lines_of_a_process_are_weighed() {
    for (what, text, cgroup, expected) in [
        (
            "v2",
            "0::/system.slice/docker-{A}.scope\n",
            "/system.slice/docker-{A}.scope",
            expect("docker-{A}.scope", "", "system.slice", "{A}", "docker"),
        ),
        (
            "v2, and a zombie whose cgroup is gone",
            "0::/system.slice/cron.service (deleted)\n",
            "/system.slice/cron.service",
            expect("cron.service", "", "system.slice", "", ""),
        ),
        ("v2, in the root", "0::/\n", "/", expect("", "", "", "", "")),
        (
            "v1: CentOS 7, Docker with the systemd driver",
            "11:perf_event:/system.slice/docker-{A}.scope\n\
             10:cpuset:/system.slice/docker-{A}.scope\n\
             9:devices:/system.slice/docker-{A}.scope\n\
             8:freezer:/system.slice/docker-{A}.scope\n\
             7:net_prio,net_cls:/system.slice/docker-{A}.scope\n\
             6:blkio:/system.slice/docker-{A}.scope\n\
             5:hugetlb:/system.slice/docker-{A}.scope\n\
             4:pids:/system.slice/docker-{A}.scope\n\
             3:memory:/system.slice/docker-{A}.scope\n\
             2:cpuacct,cpu:/system.slice/docker-{A}.scope\n\
             1:name=systemd:/system.slice/docker-{A}.scope\n",
            "/system.slice/docker-{A}.scope",
            expect("docker-{A}.scope", "", "system.slice", "{A}", "docker"),
        ),
        (
            "v1: a session, whose controllers stay further up",
            "12:pids:/user.slice/user-1000.slice/session-2.scope\n\
             11:memory:/user.slice\n\
             10:devices:/user.slice\n\
             9:cpu,cpuacct:/user.slice\n\
             8:blkio:/user.slice\n\
             7:cpuset:/\n\
             6:freezer:/\n\
             1:name=systemd:/user.slice/user-1000.slice/session-2.scope\n",
            "/user.slice/user-1000.slice/session-2.scope",
            expect("session-2.scope", "", "user-1000.slice", "", ""),
        ),
        (
            "hybrid: Debian 10, a service",
            "10:devices:/system.slice/ssh.service\n\
             9:memory:/system.slice/ssh.service\n\
             8:freezer:/\n\
             7:cpuset:/\n\
             6:pids:/system.slice/ssh.service\n\
             5:net_cls,net_prio:/\n\
             4:perf_event:/\n\
             3:blkio:/system.slice/ssh.service\n\
             2:cpu,cpuacct:/system.slice/ssh.service\n\
             1:name=systemd:/system.slice/ssh.service\n\
             0::/system.slice/ssh.service\n",
            "/system.slice/ssh.service",
            expect("ssh.service", "", "system.slice", "", ""),
        ),
        (
            "hybrid: Ubuntu 20.04, Docker with cgroups of its own in v1 only",
            "12:hugetlb:/docker/{A}\n\
             11:cpuset:/docker/{A}\n\
             10:net_cls,net_prio:/docker/{A}\n\
             9:rdma:/\n\
             8:perf_event:/docker/{A}\n\
             7:blkio:/docker/{A}\n\
             6:pids:/docker/{A}\n\
             5:memory:/docker/{A}\n\
             4:devices:/docker/{A}\n\
             3:cpu,cpuacct:/docker/{A}\n\
             2:freezer:/docker/{A}\n\
             1:name=systemd:/docker/{A}\n\
             0::/system.slice/containerd.service\n",
            "/system.slice/containerd.service",
            expect("containerd.service", "", "system.slice", "{A}", "docker"),
        ),
        (
            "hybrid: Docker in Docker, of which v2 knows the outer one only",
            "5:memory:/docker/{A}/docker/{B}\n\
             1:name=systemd:/docker/{A}/docker/{B}\n\
             0::/system.slice/docker-{A}.scope\n",
            "/system.slice/docker-{A}.scope",
            expect("docker-{A}.scope", "", "system.slice", "{B}", "docker"),
        ),
        (
            "v1 with Kubernetes: one line tells the runtime, another does not",
            "6:memory:/kubepods/burstable/pod2b1f/{A}\n\
             5:cpuset:/k8s.io/{A}\n\
             1:name=systemd:/kubepods/burstable/pod2b1f/{A}\n",
            "/kubepods/burstable/pod2b1f/{A}",
            expect("", "", "", "{A}", "containerd"),
        ),
        (
            "v1: LXC 3.1",
            "4:pids:/lxc.payload/web\n\
             3:memory:/lxc.payload/web\n\
             1:name=systemd:/lxc.payload/web/system.slice/nginx.service\n\
             0::/lxc.payload/web/system.slice/nginx.service\n",
            "/lxc.payload/web/system.slice/nginx.service",
            expect("", "", "", "web", "lxc"),
        ),
        (
            "v1 without systemd: Alpine with Docker",
            "3:memory:/docker/{A}\n2:pids:/docker/{A}\n1:name=openrc:/docker\n0::/\n",
            "/docker/{A}",
            expect("", "", "", "{A}", "docker"),
        ),
        (
            "hybrid with an init of its own, which uses the memory controller",
            "9:name=systemd:/\n8:pids:/\n4:memory:/process_api/9de29a7fd9419ee695769c5880b564e8\n0::/\n",
            "/",
            expect("", "", "", "", ""),
        ),
        (
            "a path with colons",
            "0::/kubepods-pod1.slice:cri-containerd:{A}\n",
            "/kubepods-pod1.slice:cri-containerd:{A}",
            expect("", "", "", "{A}", "containerd"),
        ),
        ("nothing", "", "/", expect("", "", "", "", "")),
        (
            "lines in another form",
            "x::/a.service\n0:\n0::relative.service\n\n-1::/b.service\n4294967296::/c.service\n0::/d.service",
            "/d.service",
            expect("d.service", "", "", "", ""),
        ),
    ] {
        let context = of_process_cgroups(&with_ids(text));
        assert_eq!(*context.cgroup, with_ids(cgroup), "{what}");
        let [unit, id] = [expected.unit, expected.id].map(with_ids);
        check(what, &context, &Expected { unit: &unit, id: &id, ..expected });
    }
}

#[test]
fn the_legacy_hierarchy_that_tells_most_is_chosen() {
    for (text, hierarchy) in [
        ("0::/init.scope\n", None),
        ("", None),
        ("9:name=systemd:/\n8:pids:/\n4:memory:/a\n1:cpu:/\n0::/\n", Some(9)),
        ("8:pids:/\n4:memory:/a\n1:name=openrc:/\n", Some(8)),
        ("12:net_cls,net_prio:/\n4:cpu,memory:/a\n0::/\n", Some(4)),
        ("12:net_cls,net_prio:/\n3:cpu,cpuacct:/\n5:name=systemd-not:/\n0::/\n", Some(3)),
    ] {
        assert_eq!(legacy_hierarchy(text), hierarchy, "{text}");
    }
}

/// Components that the readers look for, and what may stand around them.
fn component() -> impl Strategy<Value = String> {
    prop_oneof![
        "[0-9a-f]{64}",
        "[0-9a-z]{25}",
        "(docker|libpod|libpod-conmon|crio|nerdctl|cri-containerd|libpod-payload)-[0-9a-f]{64}(\\.scope)?",
        "[a-z-]{0,5}:[a-z-]{0,14}:[0-9a-f]{64}",
        "machine-[a-z-]{0,4}(\\\\x[0-9a-f]{2}|\\\\[x-z]?)[a-z]{0,4}\\.scope",
        "systemd-nspawn@[a-z]{0,4}\\.service",
        "lxc\\.(payload|monitor)(\\.[a-z]{0,4})?",
        "_{0,2}[a-z@\\\\é. -]{0,8}\\.(slice|service|scope)",
        "(user|capsule)@[0-9a-z]{0,3}\\.service",
        "session-[0-9a-z]{0,2}\\.scope",
        Just("lxc".to_owned()),
        Just("docker".to_owned()),
        Just("buildkit".to_owned()),
        Just("payload".to_owned()),
        Just("supervisor".to_owned()),
        Just("machine.slice".to_owned()),
        "\\PC{0,12}",
    ]
}

fn path() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => proptest::collection::vec(component(), 0..7).prop_map(|parts| format!("/{}", parts.join("/"))),
        1 => "\\PC{0,200}",
    ]
}

/// The text with each `\xHH` undone.
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("\\x") {
        let code = rest.get(at + 2..at + 4).and_then(|c| u8::from_str_radix(c, 16).ok());
        out.push_str(&rest[..at]);
        match code.filter(u8::is_ascii) {
            Some(code) => {
                out.push(char::from(code));
                rest = &rest[at + 4..];
            }
            None => {
                out.push_str("\\x");
                rest = &rest[at + 2..];
            }
        }
    }
    out + rest
}

fn check_comes_from(context: &Context, text: &str) -> Result<(), TestCaseError> {
    for name in [&context.unit, &context.user_unit, &context.slice].into_iter().flatten() {
        prop_assert!(!name.is_empty() && text.contains(&**name), "{name}");
    }
    if let Some(container) = &context.container {
        let id = &*container.id;
        prop_assert!(!id.is_empty() && (text.contains(id) || unescaped(text).contains(id)), "{id}");
    }
    prop_assert!(context.cgroup.starts_with('/'));
    prop_assert!(context.cgroup.len() <= text.len() + 1);
    Ok(())
}

proptest! {
    #[test]
    fn all_that_is_said_comes_from_the_path(path in path()) {
        let context = Context::of_path(&path);
        check_comes_from(&context, &path)?;
        prop_assert_eq!(&Context::of_path(&context.cgroup), &context, "read again, it says the same");
    }

    #[test]
    fn all_that_is_said_comes_from_the_lines(
        lines in proptest::collection::vec((0u32..4, "(name=systemd|pids|cpu,memory|)", path()), 0..5),
        rest in "\\PC{0,40}",
    ) {
        let mut text: String = lines.iter().map(|(n, c, p)| format!("{n}:{c}:{p}\n")).collect();
        text += &rest;
        check_comes_from(&of_process_cgroups(&text), &text)?;
        if let Some(hierarchy) = legacy_hierarchy(&text) {
            prop_assert!(hierarchy > 0 && text.contains(&hierarchy.to_string()));
        }
    }

    #[test]
    fn what_is_below_a_unit_belongs_to_it(path in path(), below in component()) {
        let context = Context::of_path(&path);
        if context.unit.is_some() {
            let inner = Context::of_path(&format!("{path}/{below}"));
            prop_assert_eq!((&inner.unit, &inner.slice), (&context.unit, &context.slice));
        }
    }
}
