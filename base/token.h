/* Tokens of HTTP (RFC 9110, 5.6.2): what the name of a header may be. */
#pragma once

#include <stdbool.h>

/* Is all of s one token? "" is none. Any thread. */
bool is_token(const char *s);
