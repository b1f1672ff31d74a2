/* What the name (RFC 9110, 5.6.2) and the value (5.5) of a header may be. Any thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* May it stand in a token? */
bool is_token_byte(unsigned char byte);
/* Is all of s one token? "" is none. */
bool is_token(const char *s);
/* May it be a value, or stand in one? Not with a control character other than the tab; bytes that are not ASCII may. */
bool is_field_value(const char *s, size_t len);
