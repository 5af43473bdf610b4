// The form of the home page: a link that grows as one types.
import { config, provider as providerOf, publicBase } from "./config.js";
import { wireCopyButtons } from "./copy.js";
import { launchUrl, markdownBadge, rstBadge, specOf } from "./links.js";

const byId = (id) => document.getElementById(id);
const form = byId("launch-form");
const fields = {
  provider: byId("provider"), repository: byId("repository"), ref: byId("ref"),
  kind: byId("path-kind"), path: byId("path"),
};
const outputs = { url: byId("launch-url"), md: byId("badge-md"), rst: byId("badge-rst") };
const hints = Object.fromEntries(Object.entries(outputs).map(([key, element]) => [key, element.textContent]));

function link() {
  const provider = providerOf(fields.provider.value);
  const spec = specOf(provider, { repository: fields.repository.value, ref: fields.ref.value });
  return spec && launchUrl(publicBase(), provider, spec, { path: fields.path.value, kind: fields.kind.value });
}

function showLink() {
  const url = link();
  show("url", url);
  show("md", url && markdownBadge(config.badgeBaseUrl, url));
  show("rst", url && rstBadge(config.badgeBaseUrl, url));
  if (url) hideProblem();
}

function show(key, text) {
  const element = outputs[key];
  element.textContent = text || hints[key];
  element.classList.toggle("empty", !text);
  document.querySelector(`[data-copy="${element.id}"]`).disabled = !text;
}

function showProvider() {
  const provider = providerOf(fields.provider.value);
  byId("repository-label").textContent = provider.repo.label;
  fields.repository.placeholder = provider.repo.placeholder;
  byId("ref-field").hidden = !provider.ref.enabled;
  fields.ref.placeholder = provider.ref.default || "";
  showLink();
}

function showKind() {
  fields.path.placeholder = fields.kind.value === "file" ? "notebooks/index.ipynb" : "/lab or /rstudio";
  showLink();
}

function hideProblem() {
  byId("repository-problem").hidden = true;
  fields.repository.removeAttribute("aria-invalid");
}

// A pasted address chooses its provider by itself.
function detectProvider() {
  const text = fields.repository.value.trim();
  const known = config.repoProviders.find((each) => text.startsWith("https://github.com/") && each.id === "gh");
  const other = /^(https?|git|ssh):\/\//.test(text) && config.repoProviders.find((each) => each.id === "git");
  const chosen = known || (fields.provider.value !== "git" && other);
  if (chosen && chosen.id !== fields.provider.value) {
    fields.provider.value = chosen.id;
    showProvider();
  }
}

form.addEventListener("submit", (submitted) => {
  submitted.preventDefault();
  const url = link();
  if (url) {
    window.location.href = url;
    return;
  }
  const problem = byId("repository-problem");
  const provider = providerOf(fields.provider.value);
  problem.textContent = `This does not name a repository yet. ${provider.repo.placeholder.replace(/^e/, "E")}`;
  problem.hidden = false;
  fields.repository.setAttribute("aria-invalid", "true");
  fields.repository.focus();
});
for (const field of Object.values(fields)) field.addEventListener("input", showLink);
fields.repository.addEventListener("change", detectProvider);
fields.repository.addEventListener("paste", () => setTimeout(detectProvider));
fields.provider.addEventListener("change", showProvider);
fields.kind.addEventListener("change", showKind);
wireCopyButtons();
showProvider();
showKind();
