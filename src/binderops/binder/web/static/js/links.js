// Launch links, badges, and where a launched server is opened: no DOM here, so that it can be tested alone.

/** The specification of a repository, from what a person typed; null if it is none. */
export function specOf(provider, { repository, ref }) {
  const repo = withoutHost(provider, repository.trim());
  if (!repo) return null;
  const encoded = provider.repo.urlEncode ? encodeURIComponent(repo) : repo.split("/").map(encodePart).join("/");
  const named = ref.trim() || provider.ref.default || "";
  const spec = provider.ref.enabled ? `${encoded}/${named.split("/").map(encodePart).join("/")}` : encoded;
  return new RegExp(`^(?:${provider.spec.validateRegex})$`).test(spec) ? spec : null;
}

/** The link that launches it. */
export function launchUrl(base, provider, spec, { path, kind }) {
  const opened = urlPath(path, kind);
  return `${base}v2/${provider.id}/${spec}${opened ? `?urlpath=${encodeURIComponent(opened)}` : ""}`;
}

export function markdownBadge(badgeBase, url) {
  return `[![Binder](${badgeBase}badge_logo.svg)](${url})`;
}

export function rstBadge(badgeBase, url) {
  return `.. image:: ${badgeBase}badge_logo.svg\n :target: ${url}`;
}

/** Where a launched server is opened. `query` is the launch page's; older links say labpath or filepath. */
export function openUrl(serverUrl, token, query) {
  const labpath = query.get("labpath");
  const filepath = query.get("filepath");
  let path = query.get("urlpath") || "";
  if (labpath) path = `doc/tree/${encodePath(labpath)}`;
  else if (filepath) path = `tree/${encodePath(filepath)}`;
  const base = new URL(serverUrl);
  const url = new URL(path.replace(/^\/+/, ""), base);
  // A path must not lead to another site, or to another user's server.
  const target = url.origin === base.origin && url.pathname.startsWith(base.pathname) ? url : base;
  target.searchParams.set("token", token);
  return target.href;
}

function withoutHost(provider, text) {
  if (!provider.detect) return text;
  const match = new RegExp(provider.detect.regex).exec(text);
  return match && match.groups.repo ? match.groups.repo : text;
}

function urlPath(path, kind) {
  const text = path.trim();
  if (!text) return "";
  // Readable in the link; only what would end the path is encoded.
  return kind === "file" ? `/doc/tree/${text.replace(/^\/+/, "").replace(/[%?#]/g, encodeURIComponent)}` : text;
}

function encodePath(path) {
  return path.split("/").map(encodeURIComponent).join("/");
}

function encodePart(part) {
  return encodeURIComponent(part).replace(/%(40|3A)/gi, decodeURIComponent);
}
