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
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -l output -d 'Where to write instead of the configured exporters; may be given several times' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -l interval -d 'Time from one sweep and export to the next, 100ms to 1h, such as 1s' -r
complete -c netsonde -n "__fish_netsonde_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c netsonde -n "__fish_netsonde_using_subcommand check-config" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand check-config" -s q -l quiet -d 'Print nothing unless something is wrong'
complete -c netsonde -n "__fish_netsonde_using_subcommand check-config" -s h -l help -d 'Print help'
complete -c netsonde -n "__fish_netsonde_using_subcommand status" -l config -d 'Configuration file [default: /etc/netsonde/netsonde.toml, if it exists]' -r -F
complete -c netsonde -n "__fish_netsonde_using_subcommand status" -l json -d 'Print JSON, for programs'
complete -c netsonde -n "__fish_netsonde_using_subcommand status" -s h -l help -d 'Print help'
