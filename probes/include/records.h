/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Every layout that crosses from the kernel to user space, written once: the Rust side is generated
 * from this file's BTF at build time (probes/build.rs).
 *
 * Addresses are 16 bytes in network order; IPv4 is kept as IPv4-mapped IPv6 (RFC 4291, 2.5.5.2).
 * Ports are in host order. Times are nanoseconds of CLOCK_BOOTTIME, so that they agree with a
 * process's start time and go on counting over a suspend.
 */
#ifndef NETSONDE_RECORDS_H
#define NETSONDE_RECORDS_H

enum process_number {
	PROCESSES_IN_A_WORD = 16,  /* of the `marks` map */
	PROCESSES_IN_BYTES = 8,	   /* in a word of it where each has a byte */
	KERNEL_TGID = 0xffffffffU, /* in place of a process: the kernel itself */
};

enum socket_number {
	SOCKETS_BY_ADDRESS =
		131072, /* followed at once where the kernel keeps no storage with them */
};

/*
 * A process: its thread-group id in the host's namespace and when its leader started; and which of
 * its programs, because an exec keeps both.
 */
struct owner {
	__u64 start_ns;
	__u32 tgid;  /* 0: not known */
	__u32 uid;   /* real user id when the socket became this process's */
	__u32 image; /* task_struct.self_exec_id: one more after each exec, a fork inherits it */
	__u32 reserved;
};

enum socket_role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
	ROLE_LISTENER = 3,
};

/*
 * What measurements are summed by. All zero is the reserved overflow entry, which user space puts
 * into a table before the table is used, so that a full table folds and never loses.
 */
struct flow_key {
	struct owner owner;
	__u8 server_address[16]; /* the remote of a client, the local address of a server */
	__u8 client_address[16]; /* zero unless `keep_client_address` */
	__u32 network_namespace; /* inode number, as in /proc/PID/ns/net */
	__u32 rules;		 /* selection rules that may apply: bit i for rule i */
	__u16 server_port;
	__u8 role;
	__u8 transport;	  /* IPPROTO_TCP or IPPROTO_UDP; 0 only in the overflow entry */
	__u8 application; /* enum application_protocol */
	__u8 reserved[3];
};

enum application_protocol {
	APPLICATION_UNKNOWN = 0,
	APPLICATION_QUIC = 1, /* long header packets on port 443 (RFC 9000, 17.2) */
};

/* Datagrams that reached a socket and were dropped: the first two as udp_fail_queue_rcv_skb() says.
 */
enum drop_kind {
	DROP_RECEIVE_BUFFER = 0, /* the socket's: SKB_DROP_REASON_SOCKET_RCVBUFF */
	DROP_MEMORY = 1,	 /* all of UDP's: SKB_DROP_REASON_PROTO_MEM */
	DROP_UNSPECIFIED = 2,	 /* by nothing that tells why */
	DROP_KINDS = 3,
};

enum histogram_layout {
	HISTOGRAM_BUCKETS = 24,
	RTT_BASE_EXPONENT = 3, /* up to 8 us, then doubling to 33.6 s */
	CONNECT_BASE_EXPONENT = 3,
	DURATION_BASE_EXPONENT = 10, /* up to 1 ms, then doubling to 71.6 min */
};

/* Bucket i holds values v (microseconds) with 2^(base+i-1) < v <= 2^(base+i); first and last are
 * open. */
struct histogram {
	__u32 buckets[HISTOGRAM_BUCKETS];
};

enum failure_kind {
	FAILURE_REFUSED = 0,
	FAILURE_RESET = 1,
	FAILURE_TIMED_OUT = 2,
	FAILURE_HOST_UNREACHABLE = 3,
	FAILURE_NET_UNREACHABLE = 4,
	FAILURE_ABORTED = 5, /* the program gave up before an answer came */
	FAILURE_OTHER = 6,
	FAILURE_KINDS = 7,
};

/*
 * What one flow did since its table was last drained. Two processors that serve the same flow pass
 * its cache lines back and forth, so what every connection touches comes first and together.
 */
struct flow_value {
	__u64 transmit_bytes; /* application bytes, each counted once however often it was sent */
	__u64 receive_bytes;
	__u64 transmit_segments; /* of UDP: datagrams */
	__u64 receive_segments;
	__u64 opened;
	__u64 accepted;
	__u64 closed;
	__s64 active; /* change in the number of open connections, of UDP: of sockets */
	__u64 rtt_sum_us;
	__u64 connect_sum_us;
	__u64 duration_sum_us;
	__u64 retransmits_data;
	__u64 retransmits_syn;
	__u64 retransmits_synack;
	__u64 resets_sent;
	__u64 resets_received;
	__u64 failures[FAILURE_KINDS];
	__u64 drops[DROP_KINDS]; /* UDP */
	struct histogram rtt;
	struct histogram connect_duration;
	struct histogram connection_duration;
};

enum event_kind {
	EVENT_LISTEN_OPEN = 0,
	EVENT_LISTEN_CLOSE = 1,
	EVENT_CONNECT = 2,
	EVENT_ACCEPT = 3,
	EVENT_CLOSE = 4,
	EVENT_FAILURE = 5,
	EVENT_KINDS = 6,
};

enum event_flag {
	EVENT_PARTIAL = 1,	  /* totals do not hold what went before netsonde's start */
	EVENT_BINARY_DELETED = 2, /* when the owner got the socket, its binary had been unlinked */
	EVENT_SOCKET_KNOWN =
		4, /* listen: the next three are of the socket; else they are not known */
	EVENT_PORT_CHOSEN = 8, /* bind() named the port; else the kernel took one */
	EVENT_IPV6_ONLY = 16,
	EVENT_REUSE_PORT = 32,
};

/* One happening on one socket, for the logs. Fields that its kind does not have are zero. */
struct socket_event {
	__u64 time_ns;
	struct owner owner;
	__u64 socket_cookie;
	__u8 local_address[16];
	__u8 remote_address[16];
	__u64 duration_ns;    /* close: since established; connect, failure: since SYN */
	__u64 transmit_bytes; /* close, from here on: totals of the connection */
	__u64 receive_bytes;
	__u32 transmit_segments;
	__u32 receive_segments;
	__u32 retransmits;
	__u32 smoothed_rtt_us;
	__u32 network_namespace;
	__u32 backlog; /* listen: limit of the accept queue */
	__u16 local_port;
	__u16 remote_port;
	__u8 kind;
	__u8 role;
	__u8 failure;	 /* failure: enum failure_kind */
	__u8 flags;	 /* enum event_flag */
	__u32 interface; /* listen: index of the device that it is bound to */
	__u8 transport;	 /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 reserved[3];
	__u32 kernel_error; /* failure: errno, 0 when the kernel set none */
	__u32 rules;	    /* as in a flow's key */
};

#define PAYLOAD_PORTS 16
#define PAYLOAD_BYTES 4096

/* What user space reads payloads for. */
enum payload_kind {
	PAYLOAD_DNS = 1,
	PAYLOAD_TLS_HELLO = 2,
};

struct payload_port {
	__u16 port;
	__u16 kinds; /* enum payload_kind, as bits */
};

/*
 * A payload as it passed its socket: a DNS message on a socket for datagrams, a piece of a stream
 * of them, or the first that a client of TLS sent. Of what is longer than PAYLOAD_BYTES the
 * beginning follows.
 */
struct payload_record {
	__u64 time_ns;
	struct owner owner;
	__u64 socket_cookie;
	__u8 local_address[16];
	__u8 remote_address[16];
	__u32 network_namespace;
	__u32 rules;	/* as in a flow's key */
	__u32 sequence; /* TCP: of the first byte (RFC 9293, 3.4) */
	__u32 length;	/* of the whole payload */
	__u16 captured; /* bytes of it that follow */
	__u16 local_port;
	__u16 remote_port;
	__u8 transport; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 sent;	/* or received */
	__u8 kind;	/* enum payload_kind */
	__u8 reserved[7];
};

/* Client networks that a listener remembers one by one, and registers of its count of peers. */
#define CLIENT_NETWORKS 8
#define PEER_REGISTERS	128

/*
 * What a listener has accepted. Peers are counted as HyperLogLog does (Flajolet et al., 2007): of
 * the hash of an address the low 7 bits choose a register, which keeps the most leading zeros, plus
 * one, that the rest had.
 */
struct accept_totals {
	__u64 accepted;
	__u64 last_ns;
	/* Of IPv6 the first 64 bits; of IPv4 0xffff, and the first 24 bits: 0xffffAABBCC00. */
	__u64 networks[CLIENT_NETWORKS];
	__u32 further_networks; /* is set when there were more */
	__u32 reserved;
	__u8 peers[PEER_REGISTERS];
};

/* A socket that takes what nobody of this host asked for, as a sweep found it. */
struct listener_record {
	struct owner owner;
	struct owner opener; /* who opened it; unknown when that was before netsonde */
	__u64 opened_ns;     /* 0: older than netsonde */
	__u64 socket_cookie;
	__u8 address[16];
	__u32 network_namespace;
	__u32 backlog;
	__u32 queued;	 /* connections waiting for accept() now */
	__u32 rules;	 /* as in a flow's key */
	__u32 interface; /* index of the device that it is bound to; 0: none */
	__u16 port;
	__u16 reuseport_group; /* sockets that share the port with SO_REUSEPORT; 0: it has not been
				  set */
	__u8 ipv6_only;
	__u8 shared;	/* more than one process holds it */
	__u8 transport; /* IPPROTO_TCP or IPPROTO_UDP */
	__u8 connected; /* UDP: takes datagrams of one peer only, the next two */
	__u8 peer_address[16];
	__u16 peer_port;
	__u8 port_chosen; /* bind() named the port; else the kernel took one */
	__u8 reserved;
}; /* a struct accept_totals follows it */

enum held_kind {
	HELD_BY_SEVERAL = 0, /* one of several processes that hold a socket */
	HELD_RAW = 1,	     /* a raw socket (raw(7)), or one of SCTP, and who holds it */
	HELD_PACKET = 2,     /* a packet socket (packet(7)), and who holds it */
};

/* A process that holds a socket, as a walk over open files found it. */
struct holder_record {
	struct owner owner;
	__u64 socket_cookie;
	/* From here on not of HELD_BY_SEVERAL. */
	__u8 address[16];
	__u32 network_namespace;
	__u32 interface;
	__u16 protocol; /* of IP; of a packet socket: of Ethernet, 3 is all (linux/if_ether.h) */
	__u16 port;	/* of SCTP */
	__u8 kind;	/* enum held_kind */
	__u8 listens;	/* SCTP */
	__u8 ipv6;
	__u8 reserved;
};

enum process_event_kind {
	PROCESS_FORK = 0,
	PROCESS_EXEC = 1,
	PROCESS_EXIT = 2,
	PROCESS_SEEN = 3,  /* found by a walk of all processes */
	PROCESS_MOVED = 4, /* into another control group of a v1 hierarchy, or of the unified one */
	PROCESS_OWNED = 5, /* it got a socket while it was exiting */
	CGROUP_MADE = 6,   /* these two are of a control group and no process */
	CGROUP_REMOVED = 7,
};

enum process_flag {
	PROCESS_KERNEL_THREAD = 1,
	PROCESS_OWNED_SOCKETS = 2, /* exit: records that name it may still be on their way */
};

#define PATH_BYTES     4096 /* PATH_MAX */
#define PATH_NAME      256  /* NAME_MAX and its NUL */
#define ARGUMENT_BYTES 2048
#define SCRIPT_BYTES   4096
#define CGROUP_BYTES   512

enum path_flag {
	PATH_TRUNCATED = 1, /* deeper or longer than the record holds: the beginning is missing */
	PATH_DELETED = 2,   /* the file had no name any more */
	PATH_UNNAMED = 4,   /* the file never had one: a memfd, whose label is all there is */
	ARGUMENTS_TRUNCATED = 8,
};

/* A process at a moment of its life. */
struct process_record {
	__u64 time_ns;
	__u64 start_ns;
	__u64 parent_start_ns;
	__u64 cgroup; /* number of its control group in the unified hierarchy */
	__u32 tgid;
	__u32 parent_tgid;
	__u32 uid;
	__u32 network_namespace;
	__u32 image;	     /* as in struct owner */
	__u32 namespace_pid; /* its number in its own pid namespace; 0 when that is the host's */
	__u8 kind;
	__u8 flags; /* enum process_flag */
	__u8 path_flags;
	__u8 reserved[5];
	char command[16];
};

/*
 * An exec brings, one after the other: the names of the binary from the file up to the root, each
 * ended by NUL; for a script its name as it was given to execve(); if that is relative, the names
 * of the directory that it is relative to; and the arguments, if they are asked for.
 */
struct exec_record {
	struct process_record process;
	__u16 path_length;
	__u16 script_length;
	__u16 directory_length;
	__u16 arguments_length;
	char data[2 * (PATH_BYTES + PATH_NAME) + SCRIPT_BYTES + ARGUMENT_BYTES];
};

/* A control group that was made or removed, or that a process was moved into. */
struct cgroup_record {
	struct process_record
		process;   /* of which only kind, time_ns and cgroup have a meaning for a cgroup */
	__u32 hierarchy;   /* 0: the unified one (include/linux/cgroup-defs.h) */
	__u16 path_length; /* without NUL */
	__u16 reserved;
	char path[CGROUP_BYTES];
};

/* ---- selection ------------------------------------------------------------------------------- */

enum rule_mask {
	RULES = 30,
	RULES_ODD = 1U << 30,	  /* the mask is of the second half of the table */
	RULES_DECIDED = 1U << 31, /* the kernel has decided: nobody need ask again */
};

#define RULE_NETWORKS 16
#define RULE_PORTS    16
#define RULE_USERS    16

struct rule_network {
	__u64 address[2]; /* both in network order, IPv4 mapped */
	__u64 mask[2];
};

struct rule_ports {
	__u16 low;
	__u16 high;
};

/*
 * What the kernel can judge of a selection rule: an empty list asks for nothing. One that also asks
 * for what only user space knows is a candidate when all this holds.
 */
struct select_rule {
	struct rule_network networks[RULE_NETWORKS];
	struct rule_ports ports[RULE_PORTS];
	__u32 users[RULE_USERS];
	__u8 network_count;
	__u8 port_count;
	__u8 user_count;
	__u8 transports; /* bit per enum rule_transport; 0: any */
	__u8 exclude;
	__u8 needs_process;
	__u8 reserved[2];
};

enum rule_transport {
	RULE_TCP = 1,
	RULE_UDP = 2,
};

/* Everything that was not recorded as meant, by reason. Indices of the `losses` map. */
enum loss {
	LOSS_EVENT_RING_FULL = 0,
	LOSS_EVENT_RATE_LIMITED = 1,
	LOSS_PROCESS_RING_FULL = 2,
	LOSS_FLOW_TABLE_FULL = 3, /* folded into the overflow entry: totals hold, detail is gone */
	LOSS_FLOW_DROPPED = 4,	  /* not even the overflow entry could be had */
	LOSS_SOCKET_STORAGE = 5,  /* no memory for a socket's state */
	LOSS_UNOWNED = 6,	  /* a connection closed and no process was known for it */
	LOSS_STATE_MISSING = 7,	  /* a connection closed that carried no state */
	LOSS_IMAGES_FULL = 8,	  /* an exec with open sockets could not be noted */
	LOSS_PAYLOAD_RING_FULL = 9,
	LOSS_PAYLOAD_RATE_LIMITED = 10, /* counted in `shed_counts` */
	LOSS_PAYLOAD_UNREADABLE = 11,
	LOSS_LISTENERS_FULL = 12,
	LOSS_KINDS = 13,
};

/*
 * Payloads that a processor did not hand on, to keep to `payloads_per_second`: that loss's count,
 * kept apart from the others because a flood pays for each. A cache line a processor.
 */
struct shed_count {
	__u64 count;
	__u64 rest_of_line[7];
};

/* Processors beyond share a line with others. */
#define SHED_COUNTS 128

struct shed_counts {
	struct shed_count of[SHED_COUNTS];
};

/* What the last sweep met; written by the kernel side, reset by user space before a sweep. */
struct sweep_totals {
	__u64 sockets;
	__u64 connections;
	__u64 awaiting_owner; /* sockets whose holder must be looked up */
	__u64 unowned;
};

/* Set by user space, may change while the programs run. */
struct settings {
	__u64 events_per_second; /* of each kind but listen, which are never limited; 0: no limit */
	__u32 events_enabled;	 /* bit per enum event_kind */
	__u32 keep_client_address;
	__u32 holder_generation;    /* counts the walks over open files */
	__u32 wakeup_bytes;	    /* ring fill from which its reader is woken */
	__u32 payload_wakeup_bytes; /* the same of the ring of payloads */
	__u32 rule_count;
	__u32 rule_base;       /* 0 or RULES: those in force are not the ones that are written */
	__u32 rule_generation; /* counts their changes; 0: there never were any */
	__u32 exclude_by_default;
	__u32 keep_arguments;
	__u32 count_datagrams;	  /* else the programs for packets look for DNS only */
	__u32 keep_stream_owners; /* TCP's programs are off, and payloads of TCP are read */
	__u32 payload_port_count;
	__u32 payloads_per_second; /* 0: no limit */
	struct payload_port payload_ports[PAYLOAD_PORTS];
	__u32 legacy_hierarchy; /* the cgroup v1 hierarchy that counts on this host; 0: none */
};

#endif
