"use strict";

SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: "openapi.json",
  deepLinking: true,
  persistAuthorization: false,
  tryItOutEnabled: true,
  validatorUrl: null,
});

// Swagger UI begins at the last of the ways to authenticate; most people mean the first.
document.addEventListener("click", (event) => {
  if (event.target.closest(".auth-wrapper > .authorize, .authorization__btn")) {
    requestAnimationFrame(() => document.querySelector(".dialog-ux input")?.focus());
  }
});
