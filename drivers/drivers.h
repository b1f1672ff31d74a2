/* The kinds of source that there are. */
#pragma once

#include "drivers/driver.h"

/* What the configuration is read with: the keys and actions of all drivers. */
extern const struct language drivers_language;

/* The driver of a source. */
const struct driver *driver_of(const struct config_source *source);
