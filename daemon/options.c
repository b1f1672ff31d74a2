/* The command line: one row a command. */
#include "daemon/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "config/diagnostics.h"

static const struct {
	const char *name;
	enum command command;
	bool takes_config;
} commands[] = {
	{"run", COMMAND_RUN, true},        {"check", COMMAND_CHECK, true},
	{"schema", COMMAND_SCHEMA, false}, {"--version", COMMAND_VERSION, false},
	{"--help", COMMAND_HELP, false},   {"-h", COMMAND_HELP, false},
};

const char options_help[] =
	"gatherd: one HTTP request gathers from PostgreSQL and MongoDB at once and answers with one JSON document\n"
	"\n"
	"  gatherd run -c FILE     serve what FILE declares\n"
	"  gatherd check -c FILE   say whether FILE is right, and where it is not\n"
	"    --connect             and whether its sources are there and take its SQL\n"
	"  gatherd schema          print the JSON Schema of FILE, for editors\n"
	"  gatherd --version\n"
	"  gatherd --help\n"
	"\n"
	"Exit codes: 0 fine, 64 usage, 69 a source is unavailable, 70 a bug, 71 or 73 the system refuses (an address "
	"is in\n"
	"use, a socket can't be created), 78 the configuration is wrong.\n";

static int usage_error(const char *format, ...) printf_like(1, 2);
static int usage_error(const char *format, ...)
{
	va_list ap;
	va_start(ap, format);
	fputs("gatherd: ", stderr);
	vfprintf(stderr, format, ap);
	fputs("\nTry `gatherd --help`.\n", stderr);
	va_end(ap);
	return -EINVAL;
}

static int unknown_command(const char *word)
{
	const char *names[ARRAY_SIZE(commands)];
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		names[i] = commands[i].name;
	const char *near = nearest_name(word, names, ARRAY_SIZE(commands));
	if (near)
		return usage_error("unknown command \"%s\": did you mean \"%s\"?", word, near);
	return usage_error("unknown command \"%s\"", word);
}

/* -c FILE, -cFILE, --config FILE, --config=FILE; *at stands on the word. Returns NULL where the word is something
 * else, "" where FILE is missing. */
static const char *config_argument(char **argv, int argc, int *at)
{
	const char *word = argv[*at];
	if (strncmp(word, "--config=", 9) == 0)
		return word + 9;
	if (strcmp(word, "-c") == 0 || strcmp(word, "--config") == 0)
		return *at + 1 < argc ? argv[++*at] : "";
	return strncmp(word, "-c", 2) == 0 ? word + 2 : NULL;
}

static int parse_config(struct options *o, int argc, char **argv)
{
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--connect") == 0 && o->command == COMMAND_CHECK) {
			o->connect = true;
			continue;
		}
		const char *file = config_argument(argv, argc, &i);
		if (!file)
			return usage_error("unexpected argument \"%s\"", argv[i]);
		if (!*file)
			return usage_error("-c takes the name of a file");
		if (o->config)
			return usage_error("-c is given twice");
		o->config = file;
	}
	return o->config ? 0 : usage_error("%s takes -c FILE", argv[1]);
}

int options_parse(struct options *o, int argc, char **argv)
{
	*o = (struct options){0};
	if (argc < 2)
		return usage_error("what shall it do?");
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		o->command = commands[i].command;
		if (commands[i].takes_config)
			return parse_config(o, argc, argv);
		return argc == 2 ? 0 : usage_error("unexpected argument \"%s\"", argv[2]);
	}
	return unknown_command(argv[1]);
}
