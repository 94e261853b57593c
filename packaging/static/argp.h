/* SPDX-License-Identifier: Apache-2.0
 *
 * Just enough of argp for elfutils' lib/ to compile against musl, which has none. What uses it there are helpers
 * of elfutils' own commands; libelf, the only part that netsonde links, does not call them.
 */
#ifndef NETSONDE_ARGP_H
#define NETSONDE_ARGP_H

#include <errno.h>
#include <stdio.h>

typedef int error_t;

struct argp_state {
	char *name;
};

struct argp_option {
	const char *name;
	int key;
	const char *arg;
	int flags;
	const char *doc;
	int group;
};

struct argp {
	const struct argp_option *options;
	error_t (*parser)(int key, char *arg, struct argp_state *state);
	const char *args_doc;
	const char *doc;
	const struct argp *children;
	char *(*help_filter)(int key, const char *text, void *input);
	const char *argp_domain;
};

#define OPTION_ARG_OPTIONAL 0x1
#define ARGP_HELP_SEE 0x4
#define ARGP_ERR_UNKNOWN E2BIG

void argp_help(const struct argp *argp, FILE *stream, unsigned int flags, char *name);

#endif
