# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_netsonde_global_optspecs
    string join \n h/help V/version
end

function __fish_netsonde_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_netsonde_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_netsonde_using_subcommand
    set -l cmd (__fish_netsonde_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c netsonde -n "__fish_netsonde_needs_command" -s h -l help -d 'Print help'
complete -c netsonde -n "__fish_netsonde_needs_command" -s V -l version -d 'Print version'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "run" -d 'Observe this host and export what is seen, until SIGTERM or Ctrl-C'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "check-config" -d 'Check the configuration and print it as it takes effect, with where each value comes from'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "status" -d 'Show how the running daemon is doing'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "audit" -d 'Show what listens on this host, and what has changed since it was right'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "events" -d 'Follow the events of the running daemon: connections, listeners, DNS lookups, as they come'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "top" -d 'Show what programs do now, in a terminal: traffic, lookups, listeners, processes'
complete -c netsonde -n "__fish_netsonde_needs_command" -f -a "reload" -d 'Have the running daemon read its configuration again, as SIGHUP does, and say what came of it'
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -l output -d 'Where to write instead of the configured exporters; may be given several times' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -l interval -d 'Time from one sweep and export to the next, 100ms to 1h, such as 1s' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netsonde -n "__fish_netsonde_using_subcommand check-config" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand check-config" -s q -l quiet -d 'Print nothing unless something is wrong'
complete -c netsonde -n "__fish_netsonde_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c netsonde -n "__fish_netsonde_using_subcommand status" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand status" -l json -d 'Print JSON, for programs'
complete -c netsonde -n "__fish_netsonde_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l since -d 'Show what opened and closed since then: so long ago, such as 24h or 7d, or an RFC 3339 time' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l until -d 'With --since: nothing younger than this, which is written likewise' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l format -d 'How to write it: table, json, csv, ndjson, html or sarif' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l port -d 'Only these ports, or ranges of them, such as 22 or 8000-8999' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l binary -d 'Only programs with such a path, or script; a glob' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l unit -d 'Only such systemd units, of the system or of a user; a glob' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l class -d 'Only addresses of this reach: loopback, private, any or public' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l namespace -d 'Only these network namespaces: initial, other, a name of ip netns, or an inode number' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l transport -d 'Only these transports: tcp, udp, sctp, raw or packet' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l save-baseline -d 'Write what listens now to a file, as what is right' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l diff -d 'Show what is new, gone or changed since that file was written; the exit code is 3 when there is something' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l suggest-policy -d 'Print [[audit.rule]] tables that allow what listens now, or what is in that baseline, to be read before they are used' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l listening -d 'Show what listens now, which is what is done without any other flag'
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -l with-ephemeral -d 'With --save-baseline and --diff: also UDP sockets that come and go with what their programs ask of others'
complete -c netsonde -n "__fish_netsonde_using_subcommand audit" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -l binary -d 'Only programs with such a path, or script; a glob' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -l port -d 'Only these ports, of the server or of the client' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -l unit -d 'Only such systemd units, of the system or of a user; a glob' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -l type -d 'Only events of these names, such as tcp.close or dns.response' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -l json -d 'Print a line of JSON an event, for programs'
complete -c netsonde -n "__fish_netsonde_using_subcommand events" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -l interval -d 'Time from one update to the next, 100ms to 1h [default: 1s]' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -l tab -d 'What to begin with: programs, flows, dns, listeners, processes or status' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -l sort -d 'The column to sort by, such as tx, p99 or name:asc; a wrong one lists those that there are' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -l filter -d 'Show only what matches: words, field:word such as binary:nginx, unit:, port: or remote:, and !word' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -l once -d 'Print the table once as plain text, with all columns and without colours, and end'
complete -c netsonde -n "__fish_netsonde_using_subcommand top" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netsonde -n "__fish_netsonde_using_subcommand reload" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
