'use strict';
// Takes over what another process of its name kept, and waits.

setInterval(() => {}, 1000);
