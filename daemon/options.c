/* The command line: one row a command, one row an option. */
#include "daemon/options.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "config/diagnostics.h"
#include "config/scalar.h"

enum { INTERVAL_LEAST_MS = 100 };

static const struct {
	const char *name;
	enum command command;
} commands[] = {
	{"idempotency-schema", COMMAND_IDEMPOTENCY_SCHEMA},
	{"run", COMMAND_RUN},
	{"check", COMMAND_CHECK},
	{"schema", COMMAND_SCHEMA},
	{"tasks", COMMAND_TASKS},
	{"ready", COMMAND_READY},
	{"reload", COMMAND_RELOAD},
	{"status", COMMAND_STATUS},
	{"--version", COMMAND_VERSION},
	{"--help", COMMAND_HELP},
	{"-h", COMMAND_HELP},
};

static const struct option {
	const char *name;
	char letter;       /* -c; 0: none */
	unsigned commands; /* that take it */
	const char *what;  /* its value is; NULL: it has none, and its place is a bool */
	size_t offset;     /* in struct options: bool, const char * */
} options[] = {
	{"--config", 'c', BIT(COMMAND_RUN) | BIT(COMMAND_CHECK) | BIT(COMMAND_TASKS), "the name of a file",
	 offsetof(struct options, config)},
	{"--connect", 0, BIT(COMMAND_CHECK), NULL, offsetof(struct options, connect)},
	{"--admin", 0, BIT(COMMAND_TASKS), "HOST:PORT or unix:/path", offsetof(struct options, admin)},
	{"--once", 0, BIT(COMMAND_TASKS), NULL, offsetof(struct options, once)},
	{"--interval", 0, BIT(COMMAND_TASKS), "a duration such as 1s", offsetof(struct options, interval)},
	{"--json", 0, BIT(COMMAND_STATUS), NULL, offsetof(struct options, json)},
	{"--control", 0, BIT(COMMAND_READY) | BIT(COMMAND_RELOAD) | BIT(COMMAND_STATUS), "the path of a Unix socket",
	 offsetof(struct options, control)},
	{"--force", 0, BIT(COMMAND_RELOAD), NULL, offsetof(struct options, force)},
	{"--check", 0, BIT(COMMAND_RELOAD), NULL, offsetof(struct options, check)},
	{"--timeout", 0, BIT(COMMAND_RELOAD), "a duration such as 60s", offsetof(struct options, timeout)},
};

const char options_help[] =
	"gatherd: each request gathers from databases, services and files at once; endpoints in YAML, or in C\n"
	"\n"
	"  gatherd run -c FILE     serve what FILE declares\n"
	"  gatherd check -c FILE   say whether FILE is right, and where it is not\n"
	"    --connect             and whether its sources are there and take its SQL\n"
	"  gatherd schema          print the JSON Schema of FILE, for editors\n"
	"  gatherd idempotency-schema\n"
	"                          print the table that `idempotency` keeps its keys in, as SQL\n"
	"  gatherd tasks -c FILE   show what the tasks of the daemon that runs FILE are waiting for; q ends it\n"
	"    --admin ADDRESS       ask that address (HOST:PORT, unix:/path) instead of reading FILE\n"
	"    --once                print it once and end\n"
	"    --interval 1s         look that often\n"
	"  gatherd status          what the running daemon is doing, on one screen; exit code 69: it is not ready\n"
	"    --json                as it says it\n"
	"  gatherd reload          have the running daemon read its file again, and say what became of that\n"
	"    --check               only say what it would do\n"
	"    --force               also if new and changed sources do not answer\n"
	"    --timeout 60s         wait that long for it\n"
	"  gatherd ready on|off    take the running daemon out: /-/ready says no until it is on again\n"
	"    --control PATH        (of these three) its control socket; default: control.sock in $RUNTIME_DIRECTORY, "
	"or in\n"
	"                          /run/gatherd\n"
	"  gatherd --version\n"
	"  gatherd --help\n"
	"\n"
	"GATHERD_DEBUG=1 in the environment of `run` is server.debug: true.\n"
	"\n"
	"Exit codes: 0 fine; 64 usage; 69 a source is unavailable, or the daemon that is asked; 70 a bug; 71, 73 the\n"
	"system refuses (an address is in use, a socket can't be created); 75 another reload is still under way; 77 "
	"the\n"
	"control socket is not for this user; 78 the configuration is wrong.\n";

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

/* Is word this option? --name, --name=VALUE, -l, -lVALUE. *value: what is in the word itself, or NULL. */
static bool is_option(const struct option *option, const char *word, const char **value)
{
	size_t len = strlen(option->name);
	*value = NULL;
	if (strncmp(word, option->name, len) == 0 && (word[len] == '\0' || (option->what && word[len] == '='))) {
		*value = word[len] ? word + len + 1 : NULL;
		return true;
	}
	if (!option->letter || word[0] != '-' || word[1] != option->letter)
		return false;
	*value = word[2] ? word + 2 : NULL;
	return true;
}

/* argv[*at] is `option`. */
static int take_option(struct options *o, const struct option *option, const char *value, int argc, char **argv,
		       int *at)
{
	void *place = (char *)o + option->offset;
	if (!option->what) {
		*(bool *)place = true;
		return 0;
	}
	char name[3] = {'-', option->letter, '\0'};
	const char *said = option->letter ? name : option->name;
	if (!value)
		value = *at + 1 < argc ? argv[++*at] : "";
	if (!*value)
		return usage_error("%s takes %s", said, option->what);
	if (*(const char **)place)
		return usage_error("%s is given twice", said);
	*(const char **)place = value;
	return 0;
}

static int parse_word(struct options *o, int argc, char **argv, int *at)
{
	const char *value;
	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		if ((options[i].commands & BIT(o->command)) && is_option(&options[i], argv[*at], &value))
			return take_option(o, &options[i], value, argc, argv, at);
	}
	if (o->command == COMMAND_READY && !o->word) {
		o->word = argv[*at];
		return 0;
	}
	return usage_error("unexpected argument \"%s\"", argv[*at]);
}

/* What the options are together. */
static int check_options(struct options *o, const char *command)
{
	if (o->command == COMMAND_TASKS && !o->config == !o->admin)
		return usage_error("tasks takes -c FILE or --admin ADDRESS");
	if ((o->command == COMMAND_RUN || o->command == COMMAND_CHECK) && !o->config)
		return usage_error("%s takes -c FILE", command);
	if (o->command == COMMAND_READY && (!o->word || (strcmp(o->word, "on") != 0 && strcmp(o->word, "off") != 0)))
		return usage_error("ready takes on or off");
	o->timeout_us = 60000000;
	if (o->timeout && !scalar_duration(o->timeout, &o->timeout_us))
		return usage_error("--timeout takes a duration such as 60s");
	o->interval_us = 1000000;
	if (o->interval &&
	    (!scalar_duration(o->interval, &o->interval_us) || o->interval_us < INTERVAL_LEAST_MS * 1000))
		return usage_error("--interval takes a duration such as 1s, 100ms or longer");
	return 0;
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
		for (int at = 2; at < argc; at++)
			if (parse_word(o, argc, argv, &at) < 0)
				return -EINVAL;
		return check_options(o, argv[1]);
	}
	return unknown_command(argv[1]);
}
