/* server: listeners and threads. */
#include <arpa/inet.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/cores.h"
#include "config/language.h"

#define DEFAULT_MODE 0660
#define CONTROL_MODE 0600
#define ADDRESS                                                                                                        \
	"HOST:PORT with a numeric host or localhost (127.0.0.1:8080, \"[::1]:8080\"; 0.0.0.0:8080 for every "          \
	"interface), unix:/path, systemd or systemd:NAME"

static bool parse_port(const char *text, uint16_t *port)
{
	size_t digits = strspn(text, "0123456789");
	if (digits == 0 || digits > 5 || text[digits] != '\0')
		return false;
	unsigned long n = strtoul(text, NULL, 10);
	*port = (uint16_t)n;
	return n <= UINT16_MAX;
}

static bool parse_tcp(struct decoder *dc, const char *text, struct config_listen *l)
{
	const char *colon = strrchr(text, ':');
	unsigned char address[sizeof(struct in6_addr)];

	if (!colon || !parse_port(colon + 1, &l->port))
		return false;
	size_t len = (size_t)(colon - text);
	bool v6 = len > 2 && text[0] == '[' && colon[-1] == ']';
	const char *host = v6 ? arena_strndup(dc->arena, text + 1, len - 2) : arena_strndup(dc->arena, text, len);
	if (!v6 && strcmp(host, "localhost") == 0)
		host = "127.0.0.1";
	l->host = host;
	return inet_pton(v6 ? AF_INET6 : AF_INET, host, address) == 1;
}

static bool parse_unix(const char *path, struct config_listen *l)
{
	l->path = path;
	l->mode = DEFAULT_MODE;
	return path[0] == '/' && path[1] != '\0' && strlen(path) < sizeof(((struct sockaddr_un *)0)->sun_path);
}

/* "systemd", or "systemd:" and a FileDescriptorName= (systemd.socket(5): at most 255 bytes, no colon). */
static bool parse_systemd(const char *text, struct config_listen *l)
{
	static const char word[] = "systemd";
	size_t len = sizeof(word) - 1;
	if (strncmp(text, word, len) != 0 || (text[len] && text[len] != ':'))
		return false;
	l->systemd = text[len] ? text + len + 1 : "";
	return !text[len] || (*l->systemd && !strchr(l->systemd, ':') && strlen(l->systemd) <= 255);
}

static bool parse_address(struct decoder *dc, const char *text, struct config_listen *l)
{
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, l);
	return parse_systemd(text, l) || (!l->systemd && parse_tcp(dc, text, l));
}

static bool same_place(const struct config_listen *a, const struct config_listen *b)
{
	if (a->systemd || b->systemd)
		return a->systemd && b->systemd &&
		       (!*a->systemd || !*b->systemd || strcmp(a->systemd, b->systemd) == 0);
	if (a->path || b->path)
		return a->path && b->path && strcmp(a->path, b->path) == 0;
	return a->port != 0 && a->port == b->port && strcmp(a->host, b->host) == 0;
}

/* The listener of s at the place of l, which is not of s yet; NULL: none. */
static const struct config_listen *same_as(const struct config_listen *l, const struct config_server *s)
{
	for (size_t i = 0; i < s->listen_count; i++) {
		if (same_place(l, &s->listen[i]))
			return &s->listen[i];
	}
	return NULL;
}

/* What to write instead of text. */
static const char *address_wanted(struct decoder *dc, const struct node *n, const char *text)
{
	const char *colon = strrchr(text, ':');
	const char *port = colon ? colon + 1 : text;
	size_t len = colon ? (size_t)(colon - text) : 0;
	bool every = len == 0 || (len == 1 && text[0] == '*');
	uint16_t number;

	if (n->expanded || !parse_port(port, &number))
		return ADDRESS;
	struct arena *a = &dc->diagnostics->arena;
	if (every)
		return arena_printf(a, "HOST:PORT: 127.0.0.1:%s for this machine alone, 0.0.0.0:%s for every interface",
				    port, port);
	if (memchr(text, ':', len) && text[0] != '[' && !strstr(text, "://"))
		return arena_printf(a, "an IPv6 address in brackets, and quotes around it all: \"[%.*s]:%s\"", (int)len,
				    text, port);
	return ADDRESS;
}

/* Parse n, an address, into the next listener of s. */
static struct config_listen *add(struct decoder *dc, const char *name, const struct node *n, const char *text,
				 struct config_server *s)
{
	struct config_listen *l = &s->listen[s->listen_count];
	*l = (struct config_listen){.at = n->at};

	if (!parse_address(dc, text, l)) {
		decode_unexpected(dc, name, n, address_wanted(dc, n, text));
		return NULL;
	}
	const struct config_listen *other = same_as(l, s);
	if (other) {
		diagnostics_error(dc->diagnostics, n->at, "%s: %s is listened on already, by line %u", name,
				  decode_shown(dc, n), other->at.line);
		return NULL;
	}
	s->listen_count++;
	return l;
}

static void set_mode(struct decoder *dc, const struct node *n, struct config_listen *l, const char *mode)
{
	if (!l->path)
		diagnostics_error(dc->diagnostics, n->at, "mode is for Unix sockets");
	else if (strspn(mode, "01234567") != strlen(mode) || mode[0] != '0' || strlen(mode) != 4)
		decode_unexpected(dc, "mode", n, "octal permissions in quotes, such as \"0660\"");
	else
		l->mode = (unsigned)strtoul(mode, NULL, 8);
}

static void add_one(struct decoder *dc, const struct node *n, struct config_server *s)
{
	if (n->kind != NODE_MAPPING) {
		if (decode_is_text(dc, "listen", n))
			add(dc, "listen", n, n->text, s);
		return;
	}
	struct listen_words words = {0};
	decode_section(dc, &section_listen, "listen", n, &words);
	const struct node *address = node_member(n, "address");
	struct config_listen *l = words.address && address ? add(dc, "listen", address, words.address, s) : NULL;
	if (l && words.mode)
		set_mode(dc, node_member(n, "mode"), l, words.mode);
}

void decode_listen(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_server *s = object;
	size_t count = n->kind == NODE_SEQUENCE ? n->count : 1;

	(void)k;
	s->listen_count = 0;
	s->listen = arena_array(dc->arena, count + 1, sizeof(*s->listen)); /* one more for admin */
	if (n->kind != NODE_SEQUENCE) {
		add_one(dc, n, s);
		return;
	}
	if (n->count == 0)
		decode_unexpected(dc, "listen", n, "at least one address");
	for (size_t i = 0; i < n->count; i++)
		add_one(dc, n->items[i], s);
}

void decode_admin(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_server *s = object;

	if (!decode_is_text(dc, k->name, n))
		return;
	struct config_listen *l = add(dc, k->name, n, n->text, s);
	if (l)
		l->admin = true;
}

static bool parse_control(const char *path, struct config_listen *l)
{
	l->admin = l->control = true;
	if (!parse_unix(path, l))
		return false;
	l->mode = CONTROL_MODE;
	return true;
}

void decode_control(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	static const char expected[] = "an absolute path of at most 107 bytes, or false";
	struct config_server *s = object;
	struct config_listen l = {.at = n->at};
	const struct node *plain = node_unquoted(n, dc->arena);

	if (plain->kind == NODE_BOOL && !plain->boolean)
		return;
	if (n->kind != NODE_STRING || !parse_control(n->text, &l)) {
		decode_unexpected(dc, k->name, n, expected);
		return;
	}
	const struct config_listen *other = same_as(&l, s);
	if (other)
		diagnostics_error(dc->diagnostics, n->at, "%s: %s is listened on already, by line %u", k->name,
				  decode_shown(dc, n), other->at.line);
	s->control = l;
}

/* Without the key: a socket in the folder that the service manager has made for us. */
static void default_control(struct decoder *dc, struct mark at, struct config_server *s)
{
	const char *folders = getenv("RUNTIME_DIRECTORY"); /* the first one of them, systemd.exec(5) */
	if (!folders || folders[0] != '/')
		return;
	const char *path = arena_printf(dc->arena, "%.*s/control.sock", (int)strcspn(folders, ":"), folders);
	struct config_listen l = {.at = at};
	if (parse_control(path, &l))
		s->control = l;
	else
		diagnostics_warning(dc->diagnostics, at, "no control socket: %s is longer than 107 bytes", path);
}

void check_server(struct decoder *dc, const struct node *mapping, void *object)
{
	struct config_server *s = object;
	const struct node *proxies = node_member(mapping, "trusted_proxies");

	if (!node_member(mapping, "control"))
		default_control(dc, mapping->at, s);
	if (s->trusted_proxy_count > 0 && !node_member(mapping, "admin"))
		diagnostics_warning(
			dc->diagnostics, proxies->at,
			"trusted_proxies without admin: a proxy on this machine that adds no Via, Forwarded "
			"or X-Forwarded-For lets strangers see /-/metrics and /-/tasks");
}

void decode_threads(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_server *s = object;

	n = node_unquoted(n, dc->arena);
	if (n->kind == NODE_STRING && strcmp(n->text, "auto") == 0) {
		unsigned cores = cores_usable();
		s->threads = cores < k->maximum ? cores : (unsigned)k->maximum;
	} else if (n->kind == NODE_INT && n->integer >= k->minimum && n->integer <= k->maximum) {
		s->threads = (unsigned)n->integer;
	} else {
		decode_unexpected(dc, k->name, n, "auto or an integer from 1 to 256");
	}
}

/* --- proxies --------------------------------------------------------------------------------------------------- */

/* Are all bits of address behind the first `bits` zero? */
static bool ends_in_zeros(const unsigned char *address, unsigned bits, unsigned size)
{
	for (unsigned bit = bits; bit < size; bit++) {
		if (address[bit / 8] & (0x80u >> bit % 8))
			return false;
	}
	return true;
}

/* 10.0.0.1, 10.0.0.0/8, fd00::/8; unix: whoever comes over a Unix socket. */
static bool parse_network(struct decoder *dc, const char *text, struct config_network *out)
{
	const char *slash = strchr(text, '/');
	const char *address = slash ? arena_strndup(&dc->diagnostics->arena, text, (size_t)(slash - text)) : text;

	if (strcmp(text, "unix") == 0) {
		out->family = AF_UNIX;
		return true;
	}
	out->family = strchr(address, ':') ? AF_INET6 : AF_INET;
	unsigned size = out->family == AF_INET ? 32 : 128;
	if (inet_pton(out->family, address, out->address) != 1)
		return false;
	out->bits = size;
	if (!slash)
		return true;
	if (strspn(slash + 1, "0123456789") != strlen(slash + 1) || strlen(slash + 1) > 3 || !slash[1])
		return false;
	out->bits = (unsigned)strtoul(slash + 1, NULL, 10);
	return out->bits <= size && ends_in_zeros(out->address, out->bits, size);
}

void decode_proxies(struct decoder *dc, const struct key *k, const struct node *n, void *object)
{
	struct config_server *s = object;

	if (n->kind != NODE_SEQUENCE) {
		decode_unexpected(dc, k->name, n, "a list of addresses and networks");
		return;
	}
	s->trusted_proxies = arena_array(dc->arena, n->count, sizeof(*s->trusted_proxies));
	for (size_t i = 0; i < n->count; i++) {
		struct config_network network = {0};
		const struct node *item = n->items[i];
		if (!decode_is_text(dc, k->name, item))
			continue;
		if (parse_network(dc, item->text, &network))
			s->trusted_proxies[s->trusted_proxy_count++] = network;
		else
			decode_unexpected(dc, k->name, item,
					  "an address or a network without bits behind its prefix, such as 10.0.0.0/8");
	}
}
