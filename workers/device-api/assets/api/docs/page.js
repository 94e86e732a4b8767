// Draws ../openapi.json, which lies beside this page wherever the page is served. Nothing is fetched from anywhere else.
/* global SwaggerUIBundle */
SwaggerUIBundle({
  url: '../openapi.json',
  dom_id: '#api',
  deepLinking: true,
  docExpansion: 'list',
  filter: true,
  tryItOutEnabled: true,
  // No third party is asked whether the document is valid: `npm test` knows.
  validatorUrl: 'none',
});
