// Command eventstore is an audit log: it serves the ledger, talks to a running one, and verifies its files.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	os.Exit(run(os.Args[1:]))
}

// run executes one command line and returns its exit code: 0 done, 1 failed (verify: invalid), 2 wrong usage
// (verify: could not read), 3 an append that is not chained yet.
func run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the program at once

	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return 0
	}
	var exit exitError
	if !errors.As(err, &exit) {
		exit.code = 1
	}
	if err.Error() != "" {
		fmt.Fprintln(os.Stderr, "eventstore:", err)
	}
	return exit.code
}

// An exitError ends the program with its code; without an error inside nothing is printed.
type exitError struct {
	code int
	err  error
}

func (e exitError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e exitError) Unwrap() error { return e.err }

func usage(err error) error { return exitError{2, err} }

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:           "eventstore",
		Short:         "An audit log that can prove nothing was altered, removed or reordered",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          func(cmd *cobra.Command, args []string) error { return usageArgs(cobra.NoArgs)(cmd, args) },
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	root.AddCommand(
		serveCommand(),
		appendCommand(),
		queryCommand(),
		tailCommand(),
		statusCommand(),
		healthCommand(),
		verifyCommand(),
		cleanupCommand(),
		retentionCommand(),
		tokenCommand(),
		benchCommand(),
		versionCommand(),
	)
	for _, c := range root.Commands() {
		c.Args = usageArgs(c.Args)
	}
	return root
}

// usageArgs makes a refusal of arguments exit with 2.
func usageArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return usage(err)
		}
		return nil
	}
}
