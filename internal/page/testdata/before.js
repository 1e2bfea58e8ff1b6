// Runs before the page's script: notes what must not happen.
window.trouble = [];
addEventListener("error", e => trouble.push("error: " + e.message));
addEventListener("unhandledrejection", e => trouble.push("rejection: " + e.reason));
addEventListener("securitypolicyviolation", e => trouble.push("policy: " + e.violatedDirective + " " + e.blockedURI));
for (const how of ["error", "warn"]) console[how] = (...args) => trouble.push("console: " + args.join(" "));
