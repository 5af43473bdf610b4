// What the server told this page (see the first script of the page).
export const config = window.pageConfig;

export function provider(id) {
  return config.repoProviders.find((each) => each.id === id);
}

export function publicBase() {
  return new URL(config.publicBaseUrl || config.baseUrl, window.location.origin).href;
}
